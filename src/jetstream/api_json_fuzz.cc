// Goal: no request body makes the API's JSON reader crash, hang or eat memory.
// Invariants: what is refused is refused with 10025 and a text; a configuration that was read is
// written and read again without change.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "jetstream/consumer_config.h"
#include "jetstream/go_json.h"
#include "jetstream/go_syntax.h"
#include "jetstream/stream_config.h"

using namespace brokkr;
using namespace brokkr::jetstream;

namespace {

void check_refusal(const ApiError& error) {
  CHECK(error.err_code == 10025 && error.description.size() > sizeof "invalid JSON: " - 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static_cast<void>(find_go_syntax_error(text));
  auto value = parse_go_json(text);
  if (!value) {
    check_refusal(value.error());
    return 0;
  }
  for (const bool is_strict : {true, false}) {
    auto stream = parse_stream_config(*value, is_strict);
    if (!stream) {
      check_refusal(stream.error());
    } else {
      auto again = parse_go_json(stream_config_json(*stream));
      CHECK(again);
      auto same = parse_stream_config(*again, true);
      CHECK(same);
      CHECK(*same == *stream);
    }
    auto consumer = parse_consumer_config(*value, is_strict);
    if (!consumer) check_refusal(consumer.error());
  }
  return 0;
}
