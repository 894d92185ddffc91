// Goal: no bytes from the network make a parser read out of bounds, stand still, or say different
// things depending on how the bytes were cut into reads.
//
// The first byte chooses the parser and a cut; the rest is the input. Invariants:
//   - a command consumes at least one byte and not more than there are; its views lie inside it
//   - Partial asks for more than there is
//   - reading in one piece, and in two pieces cut anywhere, gives the same commands and error
//   - a header block that parses can be walked, and survives with_header and without_header
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "protocol/connect_options.h"
#include "protocol/headers.h"
#include "protocol/info.h"
#include "protocol/parser.h"
#include "protocol/server_parser.h"

namespace brokkr::protocol {
namespace {

void check_inside(std::string_view view, std::string_view whole) {
  if (view.empty()) return;
  CHECK(view.data() >= whole.data());
  CHECK(view.data() + view.size() <= whole.data() + whole.size());
}

void note(std::string& out, std::string_view view) { out.append(view).append("|"); }

void note_command(std::string& out, const Command& it, std::string_view bytes) {
  out += static_cast<char>('A' + static_cast<int>(it.verb));
  const auto add = [&](std::string_view view) {
    check_inside(view, bytes);
    note(out, view);
  };
  switch (it.verb) {
    case Verb::Pub:
    case Verb::Hpub:
      CHECK(it.header_size <= it.payload.size());
      CHECK(std::string_view(it.payload.data() + it.payload.size(), 2) == "\r\n");
      for (const auto view : {it.subject, it.reply, it.size_text, it.payload}) add(view);
      break;
    case Verb::Sub:
      for (const auto view : {it.subject, it.queue, it.sid}) add(view);
      break;
    case Verb::Unsub:
      add(it.sid);
      note(out, std::to_string(it.max_messages));
      break;
    case Verb::Connect:
    case Verb::Info:
    case Verb::Err: add(it.arguments); break;
    case Verb::Ping:
    case Verb::Pong:
    case Verb::Ok: break;
  }
}

void note_command(std::string& out, const ServerCommand& it, std::string_view bytes) {
  out += static_cast<char>('A' + static_cast<int>(it.verb));
  const auto add = [&](std::string_view view) {
    check_inside(view, bytes);
    note(out, view);
  };
  if (it.verb == ServerVerb::Msg || it.verb == ServerVerb::Hmsg) {
    for (const auto view : {it.subject, it.sid, it.reply, it.headers, it.payload}) {
      if (it.verb == ServerVerb::Hmsg || view.data() != it.headers.data()) add(view);
    }
  } else if (it.verb == ServerVerb::Err || it.verb == ServerVerb::Info) {
    add(it.text);
  }
}

template <typename Parser, typename Reading>
std::string read_all(std::string_view input, size_t cut) {
  Parser parser({.control_line_max = 64, .payload_max = 100});
  Reading command;
  std::string out;
  size_t begin = 0;
  size_t needed = 1;
  for (const size_t end : {cut, input.size()}) {
    while (begin < end && end - begin >= needed) {
      // A copy of its own lets the address sanitizer see reads past the end.
      const std::vector<char> copy(input.data() + begin, input.data() + end);
      const std::string_view bytes(copy.data(), copy.size());
      const ParseStatus status = parser.next(bytes, command);
      if (status == ParseStatus::Error) {
        return out + "!" + std::to_string(static_cast<int>(parser.error()));
      }
      if (status == ParseStatus::Partial) {
        CHECK(parser.bytes_needed() > bytes.size());
        needed = parser.bytes_needed();
      } else {
        CHECK(command.size > 0 && command.size <= bytes.size());
        note_command(out, command, bytes.substr(0, command.size));
        begin += command.size;
        needed = 1;
      }
    }
  }
  return out;
}

template <typename Parser, typename Reading>
void fuzz_parser(std::string_view input) {
  const std::string whole = read_all<Parser, Reading>(input, input.size());
  for (size_t cut = 0; cut < input.size(); ++cut) {
    CHECK((read_all<Parser, Reading>(input, cut) == whole));
  }
}

void fuzz_headers(std::string_view block) {
  const auto headers = Headers::parse(block);
  if (!headers) return;
  for (const Header& header : *headers) {
    check_inside(header.key, block);
    check_inside(header.value, block);
    CHECK(!header.key.empty());
    const std::string without = without_header(block, header.key);
    if (!without.empty()) CHECK(!Headers::parse(without)->find(header.key));
  }
  const std::string with = with_header(block, "X-Fuzz", "1");
  CHECK(Headers::parse(with)->get("X-Fuzz") == "1");
  CHECK(Headers::parse(with)->status() == headers->status());
}

}  // namespace
}  // namespace brokkr::protocol

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace brokkr::protocol;
  if (size < 2 || size > 400) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0: fuzz_parser<ClientParser, Command>(input); break;
    case 1: fuzz_parser<ServerParser, ServerCommand>(input); break;
    case 2: fuzz_headers(input); break;
    case 3: {
      ConnectOptions options;
      if (parse_connect(input, options)) {
        ConnectOptions again;
        CHECK(static_cast<bool>(parse_connect(make_connect(options), again)));
      }
      if (const auto info = parse_info(input)) {
        const std::string line = make_info_line(*info);
        CHECK(static_cast<bool>(parse_info(std::string_view(line).substr(5))));
      }
      break;
    }
  }
  return 0;
}
