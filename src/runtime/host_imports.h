#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "runtime/host.h"
#include "runtime/wasi_memory.h"

// The import module "brokkr": host services for WebAssembly programs. sdk/c/brokkr.h says what each
// function takes and gives.
namespace brokkr::runtime {

constexpr std::string_view kHostImportsModule = "brokkr";

// One imported function. `fields` says what its parameters are, in their order:
//
//   m t k h p   method, target, key, header block, payload: address and size (i32 i32)
//   T n o       time-out in ms, most replies or keys, handle as target (i32)
//   r           revision (i64)
//
// and `gives` what it returns: P the payload's size, H a handle, S the HTTP status, L the number of
// records in the list, Z zero, R the revision (i64). A failure is the code below zero. Without a service it is about the last
// answer.
struct HostImport {
  std::string_view name;
  std::string_view service;
  std::string_view method;
  std::string_view fields;
  char gives;
  constexpr size_t parameter_count() const {
    size_t count = 0;
    for (const char field : fields) count += is_range(field) ? 2 : 1;
    return count;
  }
  static constexpr bool is_range(char field) {
    return field == 'm' || field == 't' || field == 'k' || field == 'h' || field == 'p';
  }
};
std::span<const HostImport> host_imports();
constexpr size_t kHostImportParametersMax = 10;

// The host services of one run of a program, and the answer to its last call. Believes no address and
// no size. Knows no engine: memory comes with each call. Loop-confined.
class HostImports {
 public:
  explicit HostImports(Host& host) : host_(host) {}

  // Starts a run; `invocation` is what its calls are made for. With 0 there is nobody to call.
  void begin(uint64_t invocation);
  // Calls the function at `index` of host_imports() with as many arguments as it has parameters; what
  // it returns to the program. `is_long` functions return an i64.
  int64_t call(size_t index, WasiMemory, std::span<const uint64_t> arguments);
  static constexpr bool is_long(const HostImport& import) { return import.gives == 'R'; }

 private:
  using Words = std::span<const uint64_t>;
  int64_t ask(const HostImport&, WasiMemory, Words);
  int64_t look(const HostImport&, WasiMemory, Words) const;
  int64_t fail(uint16_t code, std::string text);
  int64_t result_of(const HostImport&);
  std::string_view part(uint64_t number) const;

  Host& host_;
  HostReply last_;
  uint64_t invocation_ = 0;
};

}  // namespace brokkr::runtime
