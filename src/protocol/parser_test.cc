#include "protocol/parser.h"

#include <gtest/gtest.h>

namespace brokkr::protocol {
namespace {

std::string describe(const Command& it) {
  const auto text = [](std::string_view view) { return "[" + std::string(view) + "]"; };
  switch (it.verb) {
    case Verb::Pub:
      return "PUB" + text(it.subject) + text(it.reply) + text(it.size_text) + text(it.payload);
    case Verb::Hpub:
      return "HPUB" + text(it.subject) + text(it.reply) + std::to_string(it.header_size) +
             text(it.size_text) + text(it.payload);
    case Verb::Sub: return "SUB" + text(it.subject) + text(it.queue) + text(it.sid);
    case Verb::Unsub: return "UNSUB" + text(it.sid) + std::to_string(it.max_messages);
    case Verb::Ping: return "PING";
    case Verb::Pong: return "PONG";
    case Verb::Connect: return "CONNECT" + text(it.arguments);
    case Verb::Info: return "INFO" + text(it.arguments);
    case Verb::Ok: return "OK";
    case Verb::Err: return "ERR" + text(it.arguments);
  }
  return "?";
}

std::string describe(ParseError error) {
  return error == ParseError::BadArguments ? "!bad arguments" : "!" + std::string(error_text(error));
}

// Everything in `input`: commands, then the error or how many more bytes are wanted, if any. The
// bytes arrive `step` at a time; the caller's part of the contract is played as written.
std::string read(std::string_view input, size_t step = SIZE_MAX,
                 ClientParser::Limits limits = ClientParser::Limits()) {
  ClientParser parser(limits);
  Command command;
  std::string out;
  size_t begin = 0, end = 0, needed = 1;
  while (end < input.size()) {
    end = step < input.size() - end ? end + step : input.size();
    while (begin < end && end - begin >= needed) {
      // An exact copy lets the sanitizers see any read beyond the bytes given.
      const std::string bytes(input.substr(begin, end - begin));
      switch (parser.next(bytes, command)) {
        case ParseStatus::Command:
          out += describe(command) + " ";
          begin += command.size;
          needed = 1;
          break;
        case ParseStatus::Partial:
          EXPECT_GT(parser.bytes_needed(), end - begin);
          needed = parser.bytes_needed();
          break;
        case ParseStatus::Error: return out + describe(parser.error());
      }
    }
  }
  return begin == end ? out : out + "+" + std::to_string(needed - (end - begin));
}

constexpr const char* kUnknown = "!Unknown Protocol Operation";
constexpr const char* kBad = "!bad arguments";
constexpr const char* kLong = "!maximum control line exceeded";
constexpr const char* kLarge = "!Maximum Payload Violation";

TEST(ClientParser, ReadsEveryVerb) {
  EXPECT_EQ(read("PUB a 2\r\nok\r\n"), "PUB[a][][2][ok] ");
  EXPECT_EQ(read("PUB a r 2\r\nok\r\n"), "PUB[a][r][2][ok] ");
  EXPECT_EQ(read("PUB a 0\r\n\r\n"), "PUB[a][][0][] ");
  EXPECT_EQ(read("HPUB a 12 14\r\nNATS/1.0\r\n\r\nok\r\n"),
            "HPUB[a][]12[14][NATS/1.0\r\n\r\nok] ");
  EXPECT_EQ(read("HPUB a r 0 2\r\nok\r\n"), "HPUB[a][r]0[2][ok] ");
  EXPECT_EQ(read("SUB a.* 1\r\nSUB b q 2\r\n"), "SUB[a.*][][1] SUB[b][q][2] ");
  EXPECT_EQ(read("UNSUB 1\r\nUNSUB 2 7\r\n"), "UNSUB[1]0 UNSUB[2]7 ");
  EXPECT_EQ(read("PING\r\nPONG\r\n"), "PING PONG ");
  EXPECT_EQ(read("CONNECT {\"a\":1}\r\n"), "CONNECT[{\"a\":1}] ");
  EXPECT_EQ(read("INFO {}\r\n+OK\r\n-ERR 'x'\r\n"), "INFO[{}] OK ERR['x'] ");
}

TEST(ClientParser, VerbsAreReadInAnyLetterCase) {
  EXPECT_EQ(read("pub a 1\r\nx\r\nPuB a 1\r\nx\r\n"), "PUB[a][][1][x] PUB[a][][1][x] ");
  EXPECT_EQ(read("hpub a 0 1\r\nx\r\nsub a 1\r\nunSub 1\r\nping\r\npong\r\nconnect {}\r\n+ok\r\n"),
            "HPUB[a][]0[1][x] SUB[a][][1] UNSUB[1]0 PING PONG CONNECT[{}] OK ");
}

TEST(ClientParser, TabsAndSeveralBlanksSeparate) {
  EXPECT_EQ(read("PUB\ta\t2\r\nok\r\n"), "PUB[a][][2][ok] ");
  EXPECT_EQ(read("PUB  a   r \t 2  \r\nok\r\n"), "PUB[a][r][2][ok] ");
  EXPECT_EQ(read("SUB \t a  q   3 \r\n"), "SUB[a][q][3] ");
}

TEST(ClientParser, ControlLineMayEndInLfOnly) {
  EXPECT_EQ(read("PUB a 2\nok\r\nPING\nSUB a 1\n"), "PUB[a][][2][ok] PING SUB[a][][1] ");
}

TEST(ClientParser, PayloadMustEndInCrLf) {
  EXPECT_EQ(read("PUB a 2\r\nokk\r\n"), kUnknown);
  EXPECT_EQ(read("PUB a 2\r\nok\n"), kUnknown);
  EXPECT_EQ(read("PUB a 2\r\nok\rx"), kUnknown);
  EXPECT_EQ(read("PUB abcdefgh 2\r\nokx"), kUnknown);
}

TEST(ClientParser, PayloadIsAnyBytes) {
  EXPECT_EQ(read("PUB a 8\r\n\r\nPING\r\n\r\n"), "PUB[a][][8][\r\nPING\r\n] ");
}

TEST(ClientParser, SizeMayHaveLeadingZeros) {
  EXPECT_EQ(read("PUB a 00002\r\nok\r\n"), "PUB[a][][00002][ok] ");
}

TEST(ClientParser, BadSizeIsABadArgument) {
  for (const char* size : {"+2", "-1", "-0", "x", "2x", "0000000002", "9999999999", "1.0", ""}) {
    EXPECT_EQ(read(std::string("PUB a ") + size + "\r\nok\r\n"), kBad) << size;
    EXPECT_EQ(read(std::string("HPUB a 0 ") + size + "\r\nok\r\n"), kBad) << size;
  }
}

TEST(ClientParser, WrongArgumentCountIsABadArgument) {
  for (const char* line : {"PUB \r\n", "PUB a\r\n", "PUB a r s 2\r\n", "HPUB a 2\r\n",
                           "HPUB a b c 1 2\r\n", "HPUB \r\n", "SUB \r\n", "SUB a\r\n",
                           "SUB a b c d\r\n", "UNSUB \r\n", "UNSUB 1 2 3\r\n"}) {
    EXPECT_EQ(read(line), kBad) << line;
  }
}

TEST(ClientParser, HeaderBeyondTotalIsABadArgument) {
  EXPECT_EQ(read("HPUB a 5 2\r\nok\r\n"), kBad);
  EXPECT_EQ(read("HPUB a 2 2\r\nok\r\n"), "HPUB[a][]2[2][ok] ");
}

TEST(ClientParser, UnsubLimitThatIsNoNumberMeansAtOnce) {
  EXPECT_EQ(read("UNSUB 1 abc\r\nUNSUB 1 -1\r\n"), "UNSUB[1]0 UNSUB[1]0 ");
}

TEST(ClientParser, UnknownVerbsAreRefused) {
  for (const char* line : {"\r\n", "\n", "X", "PUX", "PUBa 2\r\n", "pub\r\n", "PUB\r\n", "UNSUB\r\n",
                           "SUB\r\n", "-ERR\r\n", "RS+ a\r\n", "LS+ a\r\n", "MSG a 1 1\r\n",
                           "A+ x\r\n", "HMSG a 1 1 1\r\n", "\x16\x03\x01", "GET / HTTP/1.1\r\n",
                           " PING\r\n"}) {
    EXPECT_EQ(read(line), kUnknown) << line;
  }
  EXPECT_EQ(read(std::string_view("PUB\0a 1\r\nx\r\n", 12)), kUnknown);
}

TEST(ClientParser, NulIsAnOrdinaryByte) {
  EXPECT_EQ(read(std::string_view("PUB a\0b 1\r\nx\r\n", 14)),
            std::string("PUB[a\0b][][1][x] ", 17));
}

TEST(ClientParser, CrInsideALineIsAnOrdinaryByte) {
  EXPECT_EQ(read("PUB a\rb 2\r\nok\r\n"), "PUB[a\rb][][2][ok] ");
}

TEST(ClientParser, TrailingTextOfPingIsIgnored) {
  EXPECT_EQ(read("PING xyz\r\nPINGxyz\r\nPONG 1\r\n+OKxx\r\n"), "PING PING PONG OK ");
}

TEST(ClientParser, ConnectNeedsNoBlank) {
  EXPECT_EQ(read("CONNECT{}\r\nCONNECT\r\n"), "CONNECT[{}] CONNECT[] ");
}

TEST(ClientParser, ControlLineLimitCountsArgumentsOnly) {
  const ClientParser::Limits limits{.control_line_max = 20, .payload_max = 100};
  const std::string name(18, 'a');
  EXPECT_EQ(read("PUB " + name + " 2\r\nok\r\n", SIZE_MAX, limits),
            "PUB[" + name + "][][2][ok] ");
  EXPECT_EQ(read("PUB " + name + "a 2\r\nok\r\n", SIZE_MAX, limits), kLong);
  EXPECT_EQ(read("SUB " + name + " 1\r\n", SIZE_MAX, limits), "SUB[" + name + "][][1] ");
  EXPECT_EQ(read("SUB " + name + "  1\r\n", SIZE_MAX, limits), kLong);
  EXPECT_EQ(read("CONNECT {\"name\":\"" + name + "\"}\r\n", SIZE_MAX, limits), kLong);
}

TEST(ClientParser, EndlessLineIsRefusedBeforeItsEnd) {
  EXPECT_EQ(read("PUB " + std::string(4096, 'a')), "+1");
  EXPECT_EQ(read("PUB " + std::string(4096, 'a') + "\r"), "+1");
  EXPECT_EQ(read("PUB " + std::string(4097, 'a')), kLong);
  EXPECT_EQ(read("PING" + std::string(5000, 'a')), kLong);
  EXPECT_EQ(read("SUB" + std::string(5000, ' ')), kLong);
}

TEST(ClientParser, PayloadLimitIsCheckedOnTheLine) {
  const ClientParser::Limits limits{.control_line_max = 4096, .payload_max = 4};
  EXPECT_EQ(read("PUB a 4\r\n1234\r\n", SIZE_MAX, limits), "PUB[a][][4][1234] ");
  EXPECT_EQ(read("PUB a 5\r\n", SIZE_MAX, limits), kLarge);
  EXPECT_EQ(read("HPUB a 2 5\r\n", SIZE_MAX, limits), kLarge);
  EXPECT_EQ(read("PUB a 999999999\r\n"), kLarge);
}

TEST(ClientParser, LimitsChangeBetweenCommands) {
  ClientParser parser;
  Command command;
  EXPECT_EQ(parser.next("PUB a 4\r\n1234\r\n", command), ParseStatus::Command);
  parser.set_limits({.control_line_max = 4096, .payload_max = 3});
  EXPECT_EQ(parser.next("PUB a 4\r\n1234\r\n", command), ParseStatus::Error);
  EXPECT_EQ(parser.error(), ParseError::PayloadTooLarge);
}

TEST(ClientParser, PartialPayloadTellsHowMuchIsMissing) {
  EXPECT_EQ(read("PUB a 1000\r\nabc"), "+998");
  EXPECT_EQ(read("PUB abcdefgh.ijk reply 1000\r\nabc"), "+998");
  EXPECT_EQ(read("PUB a 3\r\nabc\r"), "+1");
}

TEST(ClientParser, PayloadIsFollowedByItsCrLf) {
  const std::string_view input = "PUB a.b.c.d 5\r\nhello\r\nPING\r\n";
  ClientParser parser;
  Command command;
  ASSERT_EQ(parser.next(input, command), ParseStatus::Command);
  EXPECT_EQ(command.size, input.size() - 6);
  EXPECT_EQ(std::string_view(command.payload.data(), 7), "hello\r\n");
}

TEST(ClientParser, AnySplitGivesTheSameCommands) {
  const std::string input =
      "CONNECT {\"verbose\":false}\r\nSUB a.> q 1\r\nPUB a.b reply.to 11\r\nhello world\r\n"
      "pub a.b 0\r\n\r\nHPUB a 12 14\r\nNATS/1.0\r\n\r\nok\r\nUNSUB 1 5\r\nPING\r\n"
      "PUB long.subject.name.beyond.sixteen.bytes _INBOX.abcdefghijklmnopqrstuv.1 3\r\nabc\r\n";
  const std::string whole = read(input);
  for (size_t step = 1; step < input.size(); ++step) ASSERT_EQ(read(input, step), whole) << step;
}

}  // namespace
}  // namespace brokkr::protocol
