#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace brokkr::cli {

// One named set of connection settings, as the nats CLI keeps it in JSON. A value type.
struct ContextSettings {
  std::string description;
  std::string url;
  std::string socks_proxy;
  std::string token;
  std::string user;
  std::string password;
  std::string creds;  // a path or a reference (see resolve_reference)
  std::string nkey;   // likewise
  std::string cert;
  std::string key;
  std::string ca;
  std::string nsc;  // operator/account/user; older files have it
  std::string jetstream_domain;
  std::string jetstream_api_prefix;
  std::string jetstream_event_prefix;
  std::string inbox_prefix;
  std::string user_jwt;
  std::string user_seed;
  std::string color_scheme;
  bool tls_first = false;
  std::string windows_cert_store;
  std::string windows_cert_match_by;
  std::string windows_cert_match;
  std::vector<std::string> windows_ca_certs_match;
};

struct ContextTextField {
  const char* name;  // in the file
  std::string ContextSettings::* member;
};
// Every text of the settings but those that only Windows reads, in the order of the file.
const std::vector<ContextTextField>& context_text_fields();

Result<ContextSettings> parse_context(std::string_view json);
// As the file has it; with `name` as the first member when it is given.
void write_context(json::Writer&, const ContextSettings&, std::string_view name = {});
// Fails when more than one kind of credentials is set.
Status check_credentials(const ContextSettings&);

// The contexts of this user: files of config_home()/nats, shared with the nats CLI. Confined to the
// main thread.
class ContextStore {
 public:
  ContextStore();

  // Sorted.
  std::vector<std::string> names() const;
  bool is_known(std::string_view name) const;
  std::string path(std::string_view name) const;
  Result<ContextSettings> load(const std::string& name) const;
  Status save(const std::string& name, const ContextSettings&) const;
  Status remove(const std::string& name) const;

  // Empty when there is none.
  std::string selected() const;
  std::string previous() const;
  // An empty name selects none. What was selected becomes the previous one.
  Status select(const std::string& name) const;

 private:
  std::string folder_;
};

Status check_context_name(std::string_view name);

// "~" and "$NAME" or "${NAME}" replaced.
std::string expand_path(std::string_view path);

// Where the secret of a reference is: "file" for a bare path or file://, else "env", "data", "nsc",
// "op"; empty for what is none of them.
std::string_view reference_scheme(std::string_view reference);
// The path a "file" reference names, expanded.
std::string reference_path(std::string_view reference);
// The bytes behind a reference of any scheme.
Result<std::string> resolve_reference(const std::string& reference);

// What the context to use says: --context (a name or a path), else the selected one, else nothing.
Result<ContextSettings> load_context(std::string_view name, bool is_selected_used);

}  // namespace brokkr::cli
