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
  // Without `sources` the files that options name are not looked at.
  explicit Reader(const Document& document, Sources* sources = nullptr)
      : document_(document), sources_(sources) {}

  Sources* sources() const { return sources_; }

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
  // Seconds as a number with or without fraction, or text for Go's ParseDuration.
  void read_seconds(const Value&, std::string_view name, Duration& out);
  // A list of strings, replacing what `out` holds.
  void read_list(const Value&, std::string_view name, std::vector<std::string>& out);
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

  bool has_errors() const { return !errors_.empty(); }
  std::vector<Diagnostic> take_errors() { return std::move(errors_); }
  std::vector<Diagnostic> take_warnings() { return std::move(warnings_); }
  std::vector<std::string> take_later();

 private:
  Diagnostic make(Position at, std::string reason) const;
  const Document& document_;
  Sources* sources_;
  std::vector<Diagnostic> errors_;
  std::vector<Diagnostic> warnings_;
  std::vector<std::string> later_;
};

// The members of a map in the order of the text.
std::vector<const Member*> in_text_order(const Value& map);

// What is wrong with one entry of an allow or deny list; empty when nothing is.
std::string subject_fault(const std::string& entry, bool allows_queue);
// A public nkey of that kind (U, A, O, X), its checksum aside.
bool looks_like_nkey(std::string_view key, char prefix);
bool looks_like_user_seed(std::string_view seed);

// The blocks `authorization` and `accounts`, and what they share with other blocks.
void read_authorization(Reader&, const Value&, Options&);
void read_accounts(Reader&, const Value&, Options&);
void read_subjects(Reader&, const Value&, std::string_view name, bool allows_queue,
                   std::vector<std::string>& out);
void read_permissions(Reader&, const Value&, std::optional<PermissionRules>& out);
std::vector<UserEntry> read_users(Reader&, const Value&);
// Appends `users`; those without permissions get the default. A second one of a name is an error.
void add_users(Reader&, Position at, std::vector<UserEntry>&& users,
               const std::optional<PermissionRules>& default_permissions, Authorization&);
// Of an authorization block: warns when it is unusually long.
void read_auth_timeout(Reader&, const Value&, std::optional<Duration>& out);

// Members of an account, and the same at top level for $G.
void read_exports(Reader&, const Value&, Account&);
void read_imports(Reader&, const Value&, Account&);
void read_mappings(Reader&, const Value&, std::vector<SubjectMapping>& out);
// 50 or "50%", from `min` to 100.
void read_percentage(Reader&, const Value&, std::string_view name, int min, int& out);
// What accounts want of each other, once all are known. `at` is where they are written.
void check_accounts(Reader&, Position at, const Options&);

void read_tls(Reader&, const Value&, std::optional<TlsOptions>& out);
void read_websocket(Reader&, const Value&, Options&);
void read_leafnodes(Reader&, const Value&, Options&);
// Gives the mode its usual name; what is wrong with it, empty when nothing is.
std::string normalize_compression(LinkCompression&);
void read_write_timeout(Reader&, const Value&, WriteTimeoutPolicy& out);

// Operator mode.
void read_operators(Reader&, const Value&, OperatorOptions&);
void read_trusted_keys(Reader&, const Value&, OperatorOptions&);
void read_resolver(Reader&, const Value&, OperatorOptions&);
void read_resolver_preload(Reader&, const Value&, OperatorOptions&);

// `store_dir`, at top level or in the block `jetstream`; a second one is an error.
void read_store_dir(Reader&, const Value&, Options&);
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
