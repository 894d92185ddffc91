// Goal: no text makes the reader of configurations crash, hang or eat memory.
// Invariants: every error names its place, a file read twice gives the same digest, and options are
// built from whatever could be read.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "config/digest.h"
#include "config/loader.h"
#include "config/reload.h"

namespace {

// Includes and the environment give back the fuzzed text itself.
class EchoSources final : public brokkr::config::Sources {
 public:
  explicit EchoSources(std::string_view text) : text_(text) {}
  brokkr::Result<std::string> read_file(const std::string& path) override {
    if (path.size() % 2 == 0) return brokkr::Error{brokkr::Errc::NotFound, "no such file"};
    return std::string(text_);
  }
  std::optional<std::string> environment(const std::string& name) override {
    if (name.size() % 2 == 0) return std::nullopt;
    return std::string(text_.substr(0, 100));
  }

 private:
  std::string_view text_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  EchoSources sources(text);
  const auto document = brokkr::config::parse_text(text, "fuzz.conf", sources);
  CHECK(document.errors.size() <= brokkr::config::kErrorsMax);
  for (const auto& error : document.errors) {
    CHECK(error.line > 0 && error.column > 0 && !error.reason.empty());
  }
  const std::string digest = brokkr::config::digest(document.root);
  const auto again = brokkr::config::parse_text(text, "fuzz.conf", sources);
  CHECK(digest == brokkr::config::digest(again.root));
  const auto loaded = brokkr::config::load_options(document, {}, &sources);
  static_cast<void>(brokkr::config::find_contradictions(loaded.options));
  CHECK(brokkr::config::compare(loaded.options, loaded.options).is_empty());
  static_cast<void>(brokkr::config::compare({}, loaded.options));
  return 0;
}
