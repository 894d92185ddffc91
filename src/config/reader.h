#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "config/options.h"
#include "config/parser.h"
#include "config/value.h"

// Internal to the room: typed reading of values with errors people understand.
namespace brokkr::config {

struct HostPort {
  std::string host;
  int port = 0;
};

// Reads values of one document and collects what is wrong with them. Each read leaves its target
// alone when the value has another type or is out of range. Loop-confined.
class Reader {
 public:
  explicit Reader(const Document& document) : document_(document) {}

  void read(const Value&, std::string_view name, bool& out);
  void read(const Value&, std::string_view name, std::string& out);
  void read(const Value&, std::string_view name, int64_t& out, int64_t min, int64_t max);
  void read_port(const Value&, std::string_view name, int& out);
  // A port or "host:port".
  void read_listen(const Value&, std::string_view name, HostPort& out);
  // Text for Go's ParseDuration; an integer is seconds and gives a warning.
  void read_duration(const Value&, std::string_view name, Duration& out);
  // Text only.
  void read_duration_text(const Value&, std::string_view name, Duration& out);
  // One string or a list of them.
  void read_strings(const Value&, std::string_view name, std::vector<std::string>& out);

  // Calls `take(lower-case name, member)` for each member, in the order of the text; false from it
  // means the field is unknown. `value` must be a map.
  using TakeMember = FunctionRef<bool(const std::string& name, const Member& member)>;
  void for_each_member(const Value& value, std::string_view name, TakeMember take);

  void fail(Position, std::string reason);
  void fail_type(const Value&, std::string_view name, std::string_view expected);
  void warn(Position, std::string reason);
  void add_later(std::string name);

  std::vector<Diagnostic> take_errors() { return std::move(errors_); }
  std::vector<Diagnostic> take_warnings() { return std::move(warnings_); }
  std::vector<std::string> take_later();

 private:
  Diagnostic make(Position at, std::string reason) const;
  const Document& document_;
  std::vector<Diagnostic> errors_;
  std::vector<Diagnostic> warnings_;
  std::vector<std::string> later_;
};

// The members of a map in the order of the text.
std::vector<const Member*> in_text_order(const Value& map);

// The blocks `authorization` and `accounts`.
void read_authorization(Reader&, const Value&, Options&);
void read_accounts(Reader&, const Value&, Options&);

// The blocks `jetstream`, of the server and of an account.
void read_jetstream(Reader&, const Value&, Options&);
void read_account_jetstream(Reader&, const Value&, Account&);

// Checks the names and types in a top-level block that later.cc knows; false when it does not.
bool check_key_names(Reader&, const std::string& name, const Value&);
// Checks the names in a top-level block or value whose feature comes later; false when `name` is no
// such key.
bool check_later_key(Reader&, const std::string& name, const Value&);
// The same for a key inside an account.
bool check_later_account_key(Reader&, const std::string& name, const Value&);

}  // namespace brokkr::config
