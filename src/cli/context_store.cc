#include "cli/context_store.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/bytes.h"
#include "cli/auth_store.h"
#include "cli/files.h"

namespace brokkr::cli {
namespace {

constexpr size_t kContextBytesMax = 1 << 20;

std::string read_selection(const std::string& path) {
  const auto text = read_file(path, 4096);
  return text ? std::string(trim(*text)) : std::string();
}

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

std::string_view after_scheme(std::string_view reference, std::string_view scheme) {
  const bool has_it = reference.size() >= scheme.size() &&
                      equals_ignore_case(reference.substr(0, scheme.size()), scheme);
  return has_it ? reference.substr(scheme.size()) : reference;
}

Result<std::string> read_environment(std::string_view name) {
  if (name.empty()) return Error{Errc::InvalidArgument, "env: missing variable name"};
  const char* const value = std::getenv(std::string(name).c_str());
  if (value == nullptr) return Error{Errc::NotFound, "env: variable \"" + std::string(name) + "\" is not set"};
  if (*value == '\0') return Error{Errc::NotFound, "env: variable \"" + std::string(name) + "\" is empty"};
  return std::string(value);
}

Result<std::string> read_inline(std::string_view rest) {
  const size_t comma = rest.find(',');
  if (comma == std::string_view::npos) return Error{Errc::Syntax, "data: reference is missing the ',' separator"};
  const auto header = split(rest.substr(0, comma), ';');
  if (std::find(header.begin(), header.end(), "base64") == header.end()) {
    return Error{Errc::Syntax, "data: reference must declare ';base64' encoding"};
  }
  auto bytes = base64_decode(rest.substr(comma + 1));
  if (!bytes) return Error{Errc::Syntax, "data: base64 decode failed"};
  return std::move(*bytes);
}

Result<std::string> run_reader(const std::vector<std::string>& words) {
  auto result = run_program(words, {}, {});
  if (!result) return result.error();
  if (!result->is_success) return Error{Errc::System, words[0] + " " + words[1] + " failed"};
  return std::move(result->output);
}

// Credentials for operator/account/user, made from what is stored here; nsc itself is asked only when
// they cannot be.
Result<std::string> read_nsc(std::string_view rest) {
  const AuthStore store;
  const auto names = split(rest, '/');
  auto op = names.size() == 3 ? store.load(std::string(names[0])) : Result<StoredOperator>(Error{Errc::NotFound, {}});
  StoredAccount* const account = op ? op->find_account(names[1]) : nullptr;
  const StoredUser* const user = account == nullptr ? nullptr : account->find_user(names[2]);
  if (user != nullptr) return make_creds(store, *user, 0);
  auto profile = run_reader({"nsc", "generate", "profile", "nsc://" + std::string(rest)});
  if (!profile) return profile.error();
  const auto parsed = json::parse(*profile);
  const std::string path(parsed ? parsed->get_string("user_creds") : "");
  if (path.empty()) return Error{Errc::NotFound, "nsc output did not include user_creds"};
  return read_file(path, kContextBytesMax);
}

}  // namespace

const std::vector<ContextTextField>& context_text_fields() {
  static const std::vector<ContextTextField> fields = {
      {"description", &ContextSettings::description},
      {"url", &ContextSettings::url},
      {"socks_proxy", &ContextSettings::socks_proxy},
      {"token", &ContextSettings::token},
      {"user", &ContextSettings::user},
      {"password", &ContextSettings::password},
      {"creds", &ContextSettings::creds},
      {"nkey", &ContextSettings::nkey},
      {"cert", &ContextSettings::cert},
      {"key", &ContextSettings::key},
      {"ca", &ContextSettings::ca},
      {"nsc", &ContextSettings::nsc},
      {"jetstream_domain", &ContextSettings::jetstream_domain},
      {"jetstream_api_prefix", &ContextSettings::jetstream_api_prefix},
      {"jetstream_event_prefix", &ContextSettings::jetstream_event_prefix},
      {"inbox_prefix", &ContextSettings::inbox_prefix},
      {"user_jwt", &ContextSettings::user_jwt},
      {"user_seed", &ContextSettings::user_seed},
      {"color_scheme", &ContextSettings::color_scheme},
  };
  return fields;
}

Result<ContextSettings> parse_context(std::string_view text) {
  const auto parsed = json::parse(text);
  if (!parsed) return parsed.error();
  if (!parsed->is_object()) return Error{Errc::Syntax, "not a JSON object"};
  ContextSettings out;
  for (const ContextTextField& field : context_text_fields()) out.*field.member = parsed->get_string(field.name);
  out.tls_first = parsed->get_bool("tls_first");
  out.windows_cert_store = parsed->get_string("windows_cert_store");
  out.windows_cert_match_by = parsed->get_string("windows_cert_match_by");
  out.windows_cert_match = parsed->get_string("windows_cert_match");
  if (const json::Value* const list = parsed->find("windows_ca_certs_match")) {
    for (const json::Value& item : list->items()) out.windows_ca_certs_match.emplace_back(item.as_string());
  }
  return out;
}

void write_context(json::Writer& out, const ContextSettings& settings, std::string_view name) {
  out.begin_object();
  if (!name.empty()) out.field("name", name);
  for (const ContextTextField& field : context_text_fields()) out.field(field.name, settings.*field.member);
  out.field("tls_first", settings.tls_first).field("windows_cert_store", settings.windows_cert_store);
  out.field("windows_cert_match_by", settings.windows_cert_match_by);
  out.field("windows_cert_match", settings.windows_cert_match).key("windows_ca_certs_match");
  if (settings.windows_ca_certs_match.empty()) {
    out.null();
  } else {
    out.begin_array();
    for (const std::string& match : settings.windows_ca_certs_match) out.string(match);
    out.end_array();
  }
  out.end_object();
}

Status check_credentials(const ContextSettings& settings) {
  int kinds = 0;
  for (const std::string* kind :
       {&settings.user, &settings.creds, &settings.nkey, &settings.nsc, &settings.user_jwt}) {
    kinds += kind->empty() ? 0 : 1;
  }
  if (kinds <= 1) return {};
  return Error{Errc::InvalidArgument,
               "too many types of credentials. Choose only one from 'user/token', 'creds', 'nkey', 'nsc'"};
}

Status check_context_name(std::string_view name) {
  const std::string quoted = "invalid context name: \"" + std::string(name) + "\"";
  if (name.empty()) return Error{Errc::InvalidArgument, "invalid context name: name is empty"};
  if (name.find("..") != std::string_view::npos) {
    return Error{Errc::InvalidArgument, quoted + " must not contain \"..\""};
  }
  if (name.find_first_of("/\\") != std::string_view::npos) {
    return Error{Errc::InvalidArgument, quoted + " must not contain \"/\" or \"\\\""};
  }
  return {};
}

ContextStore::ContextStore() : folder_(config_home() + "/nats") {}

std::vector<std::string> ContextStore::names() const {
  std::vector<std::string> out;
  const auto files = list_folder(folder_ + "/context");
  if (!files) return out;
  for (const std::string& file : *files) {
    if (!file.ends_with(".json")) continue;
    const std::string name = file.substr(0, file.size() - 5);
    const auto text = read_file(folder_ + "/context/" + file, kContextBytesMax);
    if (check_context_name(name) && text && !text->empty()) out.push_back(name);
  }
  return out;
}

bool ContextStore::is_known(std::string_view name) const {
  return check_context_name(name) && is_file(path(name));
}

std::string ContextStore::path(std::string_view name) const {
  return folder_ + "/context/" + std::string(name) + ".json";
}

Result<ContextSettings> ContextStore::load(const std::string& name) const {
  if (Status valid = check_context_name(name); !valid) return valid.error();
  const auto text = read_file(path(name), kContextBytesMax);
  if (!text) return Error{Errc::NotFound, "context not found: \"" + name + "\""};
  auto settings = parse_context(*text);
  if (!settings) return Error{settings.error().code, path(name) + ": " + settings.error().text};
  return settings;
}

Status ContextStore::save(const std::string& name, const ContextSettings& settings) const {
  if (Status valid = check_context_name(name); !valid) return valid;
  ContextSettings saved = settings;
  if (!saved.nsc.empty()) {
    // The older way to name a user of nsc.
    if (saved.creds.empty()) saved.creds = "nsc://" + std::string(after_scheme(saved.nsc, "nsc://"));
    saved.nsc.clear();
  }
  if (Status valid = check_credentials(saved); !valid) return valid;
  json::Writer out(json::Writer::Options{.indent = 2});
  write_context(out, saved);
  return replace_file(path(name), out.text());
}

Status ContextStore::remove(const std::string& name) const {
  if (Status valid = check_context_name(name); !valid) return valid;
  if (unlink(path(name).c_str()) != 0 && errno != ENOENT) return system_error(path(name).c_str(), errno);
  return {};
}

std::string ContextStore::selected() const { return read_selection(folder_ + "/context.txt"); }
std::string ContextStore::previous() const { return read_selection(folder_ + "/previous-context.txt"); }

Status ContextStore::select(const std::string& name) const {
  if (!name.empty()) {
    if (Status valid = check_context_name(name); !valid) return valid;
    if (!is_known(name)) return Error{Errc::NotFound, "context not found: \"" + name + "\""};
  }
  const std::string before = selected();
  if (!before.empty()) {
    if (Status kept = replace_file(folder_ + "/previous-context.txt", before); !kept) return kept;
  }
  if (!name.empty()) return replace_file(folder_ + "/context.txt", name);
  unlink((folder_ + "/context.txt").c_str());
  return {};
}

std::string expand_path(std::string_view path) {
  std::string out;
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '$' || i + 1 == path.size()) {
      out += path[i];
      continue;
    }
    const bool has_braces = path[i + 1] == '{';
    const size_t begin = i + (has_braces ? 2 : 1);
    size_t end = begin;
    while (end < path.size() && is_name_char(path[end])) ++end;
    const bool is_whole = end > begin && (!has_braces || (end < path.size() && path[end] == '}'));
    if (!is_whole) {
      out += path[i];
      continue;
    }
    const char* const value = std::getenv(std::string(path.substr(begin, end - begin)).c_str());
    if (value != nullptr) out += value;
    i = has_braces ? end : end - 1;
  }
  if (out.starts_with('~')) out.replace(0, 1, home_folder());
  return out;
}

std::string_view reference_scheme(std::string_view reference) {
  if (equals_ignore_case(reference.substr(0, 5), "data:")) return "data";
  const size_t colon = reference.find("://");
  if (colon == std::string_view::npos) return "file";
  for (const std::string_view known : {"file", "env", "nsc", "op"}) {
    if (equals_ignore_case(reference.substr(0, colon), known)) return known;
  }
  return {};
}

std::string reference_path(std::string_view reference) { return expand_path(after_scheme(reference, "file://")); }

Result<std::string> resolve_reference(const std::string& reference) {
  const std::string_view scheme = reference_scheme(reference);
  if (scheme == "file") return read_file(reference_path(reference), kContextBytesMax);
  if (scheme == "env") return read_environment(after_scheme(reference, "env://"));
  if (scheme == "data") return read_inline(after_scheme(reference, "data:"));
  if (scheme == "nsc") return read_nsc(after_scheme(reference, "nsc://"));
  if (scheme == "op") return run_reader({"op", "read", reference});
  return Error{Errc::Unsupported, "no resolver registered for \"" + reference + "\""};
}

Result<ContextSettings> load_context(std::string_view name, bool is_selected_used) {
  const ContextStore store;
  if (name.ends_with(".json") && is_file(std::string(name))) {
    const auto text = read_file(std::string(name), kContextBytesMax);
    if (!text) return text.error();
    auto settings = parse_context(*text);
    if (!settings) return Error{settings.error().code, std::string(name) + ": " + settings.error().text};
    return settings;
  }
  if (!name.empty()) {
    if (!store.is_known(name)) return Error{Errc::NotFound, "unknown context \"" + std::string(name) + "\""};
    return store.load(std::string(name));
  }
  const std::string chosen = is_selected_used ? store.selected() : std::string();
  if (chosen.empty() || !store.is_known(chosen)) return ContextSettings();
  return store.load(chosen);
}

}  // namespace brokkr::cli
