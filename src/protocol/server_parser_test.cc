#include "protocol/server_parser.h"

#include <gtest/gtest.h>

#include "protocol/encode.h"

namespace brokkr::protocol {
namespace {

std::string describe_server(const ServerCommand& it) {
  const auto text = [](std::string_view view) { return "[" + std::string(view) + "]"; };
  switch (it.verb) {
    case ServerVerb::Msg:
    case ServerVerb::Hmsg:
      return std::string(it.verb == ServerVerb::Msg ? "MSG" : "HMSG") + text(it.subject) +
             text(it.sid) + text(it.reply) + text(it.headers) + text(it.payload);
    case ServerVerb::Ping: return "PING";
    case ServerVerb::Pong: return "PONG";
    case ServerVerb::Ok: return "OK";
    case ServerVerb::Err: return "ERR" + text(it.text);
    case ServerVerb::Info: return "INFO" + text(it.text);
  }
  return "?";
}

std::string read_server(std::string_view input, size_t step = SIZE_MAX) {
  ServerParser parser;
  ServerCommand command;
  std::string out;
  size_t begin = 0, end = 0, needed = 1;
  while (end < input.size()) {
    end = step < input.size() - end ? end + step : input.size();
    while (begin < end && end - begin >= needed) {
      const std::string bytes(input.substr(begin, end - begin));
      switch (parser.next(bytes, command)) {
        case ParseStatus::Command:
          out += describe_server(command) + " ";
          begin += command.size;
          needed = 1;
          break;
        case ParseStatus::Partial: needed = parser.bytes_needed(); break;
        case ParseStatus::Error: return out + "!" + std::to_string(int(parser.error()));
      }
    }
  }
  return begin == end ? out : out + "+" + std::to_string(needed - (end - begin));
}

const std::string kUnknownServer = "!" + std::to_string(int(ParseError::UnknownOperation));
const std::string kBadServer = "!" + std::to_string(int(ParseError::BadArguments));

TEST(ServerParser, ReadsEveryVerb) {
  EXPECT_EQ(read_server("MSG a 1 2\r\nok\r\n"), "MSG[a][1][][][ok] ");
  EXPECT_EQ(read_server("MSG a 1 r 2\r\nok\r\n"), "MSG[a][1][r][][ok] ");
  EXPECT_EQ(read_server("HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nok\r\n"),
            "HMSG[a][1][][NATS/1.0\r\n\r\n][ok] ");
  EXPECT_EQ(read_server("HMSG a 1 r 12 12\r\nNATS/1.0\r\n\r\n\r\n"),
            "HMSG[a][1][r][NATS/1.0\r\n\r\n][] ");
  EXPECT_EQ(read_server("PING\r\nPONG\r\n+OK\r\n"), "PING PONG OK ");
  EXPECT_EQ(read_server("INFO {\"a\":1} \r\n"), "INFO[{\"a\":1}] ");
  EXPECT_EQ(read_server("-ERR 'Stale Connection'\r\n-ERR x\r\n"), "ERR[Stale Connection] ERR[x] ");
}

TEST(ServerParser, SeveralBlanksCountAsOne) {
  EXPECT_EQ(read_server("MSG a 1  2\r\nok\r\n"), "MSG[a][1][][][ok] ");
}

TEST(ServerParser, GarbageIsRefused) {
  for (const char* text : {"X\r\n", "PUB a 1\r\n", "MSGa 1 2\r\n", "MSG a 1 2\r\nokk\r\n"}) {
    EXPECT_EQ(read_server(text), kUnknownServer) << text;
  }
  for (const char* text : {"MSG a 1\r\n", "MSG a 1 r s 2\r\n", "MSG a 1 x\r\n", "MSG\r\n",
                           "HMSG a 1 3 2\r\nok\r\n", "HMSG a 1 2\r\nok\r\n",
                           "MSG a 1 9999999999\r\n"}) {
    EXPECT_EQ(read_server(text), kBadServer) << text;
  }
}

TEST(ServerParser, AnySplitGivesTheSameCommands) {
  const std::string input =
      "INFO {} \r\nPONG\r\nMSG a.b 12 reply 5\r\nhello\r\nHMSG a 1 12 14\r\nNATS/1.0\r\n\r\nok\r\n"
      "-ERR 'x'\r\n";
  const std::string whole = read_server(input);
  for (size_t step = 1; step < input.size(); ++step) ASSERT_EQ(read_server(input, step), whole);
}

TEST(Encode, LinesAreWritten) {
  char room[512];
  const auto text = [&](char* end) { return std::string(room, end); };
  EXPECT_EQ(text(write_msg_line(room, "a", "1", "", "2")), "MSG a 1 2\r\n");
  EXPECT_EQ(text(write_msg_line(room, "a", "1", "r", "2")), "MSG a 1 r 2\r\n");
  EXPECT_EQ(text(write_hmsg_line(room, "a", "1", "", "12", "14")), "HMSG a 1 12 14\r\n");
  EXPECT_EQ(text(write_hmsg_line(room, "a", "1", "r", "12", "14")), "HMSG a 1 r 12 14\r\n");
  EXPECT_EQ(text(write_pub_line(room, "a", "", 10)), "PUB a 10\r\n");
  EXPECT_EQ(text(write_hpub_line(room, "a", "r", 12, 100)), "HPUB a r 12 100\r\n");
  EXPECT_EQ(text(write_error_line(room, "x")), "-ERR 'x'\r\n");
  EXPECT_EQ(error_line_size("x"), 10u);
}

TEST(Encode, TextOfEveryLengthIsCopied) {
  const std::string source = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  for (size_t size = 0; size <= source.size(); ++size) {
    std::string room(size, '.');
    const std::string from = source.substr(0, size);
    char* end = write_text(room.data(), from);
    EXPECT_EQ(end, room.data() + size);
    EXPECT_EQ(room, from);
  }
}

TEST(Encode, NumbersOfEveryWidthAreWritten) {
  uint64_t value = 1;
  for (int i = 0; i < 20; ++i, value *= 10) {
    for (const uint64_t it : {value - 1, value, value + 1}) {
      EXPECT_EQ(SizeText(it).view(), std::to_string(it));
      EXPECT_EQ(uint_size(it), std::to_string(it).size());
    }
  }
  EXPECT_EQ(SizeText(UINT64_MAX).view(), std::to_string(UINT64_MAX));
}

}  // namespace
}  // namespace brokkr::protocol
