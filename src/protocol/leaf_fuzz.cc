// Goal: no bytes from another server make the leaf parser read out of bounds, stand still, or say
// different things depending on how the bytes were cut into reads.
//
// The first byte chooses between the parser, INFO and CONNECT; the rest is the input. Invariants:
//   - a command consumes at least one byte and not more than there are; its views lie inside it
//   - Partial asks for more than there is
//   - reading in one piece, and in two pieces cut anywhere, gives the same commands and error
//   - a message that was read and is written again is read as the same
//   - INFO and CONNECT that were read and written again can be read again
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "protocol/leaf_info.h"
#include "protocol/leaf_parser.h"

namespace brokkr::protocol {
namespace {

constexpr LeafParser::Limits kFuzzLimits{.control_line_max = 64, .payload_max = 100};

void check_part(std::string_view view, std::string_view whole) {
  if (view.empty()) return;
  CHECK(view.data() >= whole.data());
  CHECK(view.data() + view.size() <= whole.data() + whole.size());
}

void check_rewritten(const LeafCommand& it) {
  std::string text;
  append_leaf_message_line(
      text, {it.subject, it.reply, it.queues, it.header_size, it.payload.size()});
  text.append(it.payload).append("\r\n");
  LeafParser parser;
  LeafCommand again;
  CHECK(parser.next(text, again) == ParseStatus::Command);
  CHECK(again.subject == it.subject && again.queues == it.queues && again.payload == it.payload);
  CHECK(again.reply == it.reply && again.header_size == it.header_size);
}

std::string note_leaf(const LeafCommand& it, std::string_view bytes) {
  std::string out(1, static_cast<char>('A' + static_cast<int>(it.verb)));
  const auto add = [&](std::string_view view) {
    check_part(view, bytes);
    out.append(view).append("|");
  };
  switch (it.verb) {
    case LeafVerb::Msg:
    case LeafVerb::Hmsg:
      CHECK(it.header_size <= it.payload.size());
      CHECK(std::string_view(it.payload.data() + it.payload.size(), 2) == "\r\n");
      for (const auto view : {it.subject, it.reply, it.queues, it.payload}) add(view);
      check_rewritten(it);
      break;
    case LeafVerb::Sub:
    case LeafVerb::Unsub:
      CHECK(!it.subject.empty() && it.weight > 0);
      for (const auto view : {it.subject, it.queue}) add(view);
      break;
    case LeafVerb::Connect:
    case LeafVerb::Info:
    case LeafVerb::Err: add(it.arguments); break;
    case LeafVerb::Ping:
    case LeafVerb::Pong:
    case LeafVerb::Ok: break;
  }
  return out;
}

std::string read_leaf(std::string_view input, size_t cut) {
  LeafParser parser(kFuzzLimits);
  LeafCommand command;
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
        out += note_leaf(command, bytes.substr(0, command.size));
        begin += command.size;
        needed = 1;
      }
    }
  }
  return out;
}

}  // namespace
}  // namespace brokkr::protocol

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace brokkr::protocol;
  if (size < 2 || size > 400) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0: {
      const std::string whole = read_leaf(input, input.size());
      for (size_t cut = 0; cut < input.size(); ++cut) CHECK(read_leaf(input, cut) == whole);
      break;
    }
    case 1:
      if (const auto info = parse_leaf_info(input)) {
        const std::string line = make_leaf_info_line(*info);
        CHECK(static_cast<bool>(parse_leaf_info(std::string_view(line).substr(5))));
      }
      break;
    case 2:
      if (const auto connect = parse_leaf_connect(input)) {
        const std::string line = make_leaf_connect_line(*connect);
        CHECK(static_cast<bool>(parse_leaf_connect(std::string_view(line).substr(8))));
      }
      break;
  }
  return 0;
}
