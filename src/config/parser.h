#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "config/value.h"

namespace brokkr::config {

// What a configuration may read besides its own text. Passed in so that tests and the fuzzer hold
// the files and the environment.
class Sources {
 public:
  virtual ~Sources() = default;
  virtual Result<std::string> read_file(const std::string& path) = 0;
  virtual std::optional<std::string> environment(const std::string& name) = 0;
};

// The process's files and environment.
class SystemSources final : public Sources {
 public:
  static constexpr size_t kFileBytesMax = 64 << 20;
  Result<std::string> read_file(const std::string& path) override;
  std::optional<std::string> environment(const std::string& name) override;
};

// Reads a nats.conf and everything it includes. Never fails as a call: what is wrong is listed in
// Document::errors, at most kErrorsMax of them. A file without any value is an error.
Document parse_file(const std::string& path, Sources&);

// The same for text already read; `name` stands for it in errors, includes are looked up in
// `name`'s folder. Text without a value is no error here.
Document parse_text(std::string_view text, const std::string& name, Sources&);

inline constexpr size_t kErrorsMax = 50;
// Variables may not blow a file up beyond this many bytes of values.
inline constexpr size_t kExpandedBytesMax = 32 << 20;
inline constexpr size_t kIncludeDepthMax = 32;
// Includes and uses of environment variables in one configuration, nested ones counted each time.
inline constexpr size_t kTextsMax = 2000;

}  // namespace brokkr::config
