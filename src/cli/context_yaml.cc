#include "cli/context_yaml.h"

#include <algorithm>
#include <optional>

#include "base/bytes.h"
#include "base/json.h"

namespace brokkr::cli {
namespace {

struct Section {
  const char* text;  // what stands above the lines
  std::vector<const char*> names;
};

const std::vector<Section>& sections() {
  static const std::vector<Section> all = {
      {"# Friendly description for this context shown when listing contexts\n", {"description"}},
      {"# NATS servers to connect to, separated by commas\n", {"url"}},
      {"# A user and its password; the password may be a reference as below\n", {"user", "password"}},
      {"# A credentials file, or one of the references\n#\n"
       "#   file:///path/to/file.creds   a file, as a bare path\n"
       "#   op://vault/item/field        the 1Password CLI ('op read')\n"
       "#   nsc://Operator/Account/User  a user of 'auth' or of nsc\n"
       "#   env://NAME                   an environment variable\n"
       "#   data:;base64,<payload>       the bytes themselves\n",
       {"creds"}},
      {"# The seed of an nkey, a path or a reference\n", {"nkey"}},
      {"# A user's token and seed, themselves or references\n", {"user_jwt", "user_seed"}},
      {"# A token to connect with\n", {"token"}},
      {"# A certificate and its key, and the authorities to trust\n", {"cert", "key", "ca"}},
      {"# TLS before the server's greeting\n", {"tls_first"}},
      {"# The certificate store of Windows\n",
       {"windows_cert_store", "windows_cert_match", "windows_cert_match_by", "windows_ca_certs_match"}},
      {"# A custom inbox prefix, such as _INBOX.private.userid\n", {"inbox_prefix"}},
      {"# Colours of tables: rounded, double, yellow, blue, cyan, green, magenta, red\n", {"color_scheme"}},
      {"# The JetStream domain, and prefixes when its API or events are imported from another account\n",
       {"jetstream_domain", "jetstream_api_prefix", "jetstream_event_prefix"}},
      {"# A SOCKS5 proxy, such as socks5://example.net:1090\n", {"socks_proxy"}},
  };
  return all;
}

std::string* find_text(ContextSettings& settings, std::string_view name) {
  for (const ContextTextField& field : context_text_fields()) {
    if (name == field.name) return &(settings.*field.member);
  }
  if (name == "windows_cert_store") return &settings.windows_cert_store;
  if (name == "windows_cert_match") return &settings.windows_cert_match;
  if (name == "windows_cert_match_by") return &settings.windows_cert_match_by;
  return nullptr;
}

std::string yaml_quoted(std::string_view text) {
  std::string out;
  json::append_quoted(out, text, false);
  return out;
}

// A value in quotes, or the plain text before a comment.
Result<std::string> read_scalar(std::string_view text) {
  text = trim(text);
  if (text.starts_with('"')) {
    // A string of JSON is one of YAML.
    for (size_t end = text.find('"', 1); end != std::string_view::npos; end = text.find('"', end + 1)) {
      const auto value = json::parse(text.substr(0, end + 1));
      if (value && value->is_string()) return std::string(value->as_string());
    }
    return Error{Errc::Syntax, "unclosed quote"};
  }
  if (text.starts_with('\'')) {
    std::string out;
    for (size_t i = 1; i < text.size(); ++i) {
      if (text[i] != '\'') out += text[i];
      else if (text.substr(i + 1).starts_with('\'')) out += text[i++];
      else return out;
    }
    return Error{Errc::Syntax, "unclosed quote"};
  }
  if (text.starts_with('#')) return std::string();
  if (const size_t comment = text.find(" #"); comment != std::string_view::npos) text = trim(text.substr(0, comment));
  if (text == "null" || text == "~") return std::string();
  return std::string(text);
}

Status read_list(std::string_view text, std::vector<std::string>& out) {
  if (!text.starts_with('[')) return text.empty() ? Status() : Status(Error{Errc::Syntax, "not a list"});
  const auto list = json::parse(text);
  if (!list || !list->is_array()) return Error{Errc::Syntax, "not a list of quoted texts"};
  for (const json::Value& item : list->items()) out.emplace_back(item.as_string());
  return {};
}

class YamlReader {
 public:
  Status read_line(std::string_view line) {
    const std::string_view text = trim(line);
    if (text.empty() || text.starts_with('#') || text == "---") return {};
    if (text.starts_with("- ") && is_in_list_) {
      auto item = read_scalar(text.substr(2));
      if (!item) return item.error();
      out.windows_ca_certs_match.push_back(std::move(*item));
      return {};
    }
    const size_t colon = text.find(':');
    if (colon == std::string_view::npos) return Error{Errc::Syntax, "no \"name: value\""};
    return read_member(trim(text.substr(0, colon)), trim(text.substr(colon + 1)));
  }

  ContextSettings out;

 private:
  Status read_member(std::string_view name, std::string_view text) {
    is_in_list_ = name == "windows_ca_certs_match";
    if (is_in_list_) return read_list(text, out.windows_ca_certs_match);
    auto value = read_scalar(text);
    if (!value) return value.error();
    if (name == "tls_first") {
      if (*value != "true" && *value != "false" && !value->empty()) return Error{Errc::Syntax, "not true or false"};
      out.tls_first = *value == "true";
      return {};
    }
    std::string* const field = find_text(out, name);
    if (field == nullptr) return Error{Errc::Syntax, "unknown setting \"" + std::string(name) + "\""};
    *field = std::move(*value);
    return {};
  }

  bool is_in_list_ = false;
};

}  // namespace

std::string context_yaml(const ContextSettings& settings) {
  ContextSettings copy = settings;
  std::string out;
  for (const Section& section : sections()) {
    if (!out.empty()) out += '\n';
    out += section.text;
    for (const std::string_view name : section.names) {
      out += std::string(name) + ": ";
      if (const std::string* const text = find_text(copy, name)) {
        out += yaml_quoted(*text);
      } else if (name == "tls_first") {
        out += settings.tls_first ? "true" : "false";
      } else {
        std::string list;
        for (const std::string& item : settings.windows_ca_certs_match) {
          list += (list.empty() ? "" : ", ") + yaml_quoted(item);
        }
        out += "[" + list + "]";
      }
      out += '\n';
    }
  }
  return out;
}

Result<ContextSettings> parse_context_yaml(std::string_view text) {
  YamlReader reader;
  size_t number = 0;
  for (const std::string_view line : split(text, '\n')) {
    ++number;
    if (Status read = reader.read_line(line); !read) {
      return Error{read.error().code, "line " + std::to_string(number) + ": " + read.error().text};
    }
  }
  return std::move(reader.out);
}

}  // namespace brokkr::cli
