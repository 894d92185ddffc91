#include <algorithm>

#include "base/bytes.h"
#include "config/reader.h"

// The keys of operator mode. What a JWT says and whether its signature holds is checked where it
// is used; here it must only look like one.
namespace brokkr::config {
namespace {

bool is_base64url(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '-' || c == '_' || c == '=';
  });
}

bool looks_like_jwt(std::string_view text) {
  const auto parts = split(text, '.');
  return parts.size() == 3 && parts[0].starts_with("eyJ") &&
         std::all_of(parts.begin(), parts.end(), is_base64url);
}

// The JWT in a file: the whole text, or what stands between the lines of dashes nsc writes.
std::string undecorated(std::string_view text) {
  text = trim(text);
  for (const std::string_view line : split(text, '\n')) {
    const std::string_view word = trim(line);
    if (text.starts_with("---") && looks_like_jwt(word)) return std::string(word);
  }
  return std::string(text);
}

void read_operator(Reader& reader, Position at, const std::string& entry, OperatorOptions& out) {
  std::string text = entry;
  if (!entry.starts_with("eyJ") && reader.sources() != nullptr) {
    const Result<std::string> file = reader.sources()->read_file(entry);
    if (!file) {
      return reader.fail(at, "error parsing operator JWT: " + entry + ": " + file.error().text);
    }
    text = *file;
  }
  text = undecorated(text);
  if (!looks_like_jwt(text) && (entry.starts_with("eyJ") || reader.sources() != nullptr)) {
    return reader.fail(at, "error parsing operator JWT: expected 3 chunks");
  }
  out.operators.push_back(std::move(text));
}

void read_resolver_name(Reader& reader, const Value& value, ResolverOptions& out) {
  const std::string word = to_lower(trim(value.text));
  if (word.find("mem") != std::string::npos) {
    out.kind = ResolverOptions::Kind::Memory;
    return;
  }
  const size_t open = value.text.find('(');
  const size_t close = value.text.rfind(')');
  if (!word.starts_with("url") || open == std::string::npos || close == std::string::npos ||
      close < open) {
    return reader.fail(value.at,
                       "error parsing account resolver, should be MEM or URL(\"url\") or a map "
                       "containing dir and type=[FULL|CACHE]");
  }
  std::string_view url = trim(std::string_view(value.text).substr(open + 1, close - open - 1));
  if (url.starts_with('"')) url.remove_prefix(1);
  if (url.ends_with('"')) url.remove_suffix(1);
  if (!url.starts_with("http://") && !url.starts_with("https://")) {
    return reader.fail(value.at, "error parsing account resolver url [\"" + std::string(url) +
                                     "\"], expected http:// or https://");
  }
  out.kind = ResolverOptions::Kind::Url;
  out.url = url;
}

struct ResolverBlock {
  std::string type;
  bool has_hard_delete = false;
};

bool read_resolver_field(Reader& reader, const std::string& name, const Value& value,
                         ResolverOptions& out, ResolverBlock& block) {
  if (name == "dir") {
    reader.read(value, name, out.dir);
  } else if (name == "type") {
    reader.read(value, name, block.type);
  } else if (name == "allow_delete") {
    reader.read(value, name, out.allow_delete);
  } else if (name == "hard_delete") {
    reader.read(value, name, out.hard_delete);
    block.has_hard_delete = true;
  } else if (name == "limit") {
    reader.read(value, name, out.limit, INT64_MIN, INT64_MAX);
  } else if (name == "ttl") {
    reader.read_duration_text(value, name, out.ttl);
  } else if (name == "interval") {
    reader.read_duration_text(value, name, out.sync_interval);
  } else if (name == "timeout") {
    reader.read_duration_text(value, name, out.timeout);
  } else {
    return false;
  }
  return true;
}

void check_directory(Reader& reader, Position at, const ResolverOptions& out,
                     const ResolverBlock& block) {
  const bool is_cache = out.kind == ResolverOptions::Kind::Cache;
  if (out.dir.empty()) reader.fail(at, "dir has no value and needs to point to a directory");
  if (reader.sources() != nullptr && reader.sources()->read_file(out.dir)) {
    reader.fail(at, "dir needs to point to an accessible directory");
  }
  if (is_cache && out.sync_interval != Duration::zero()) {
    reader.fail(at, "CACHE does not accept sync");
  }
  if (is_cache && out.allow_delete) reader.fail(at, "CACHE does not accept allow_delete");
  if (is_cache && block.has_hard_delete) reader.fail(at, "CACHE does not accept hard_delete");
  if (!is_cache && out.ttl != Duration::zero()) reader.fail(at, "FULL does not accept ttl");
  if (!is_cache && block.has_hard_delete && !out.allow_delete) {
    reader.fail(at, "hard_delete has no effect without delete");
  }
}

void read_resolver_block(Reader& reader, const Value& value, ResolverOptions& out) {
  ResolverBlock block;
  reader.for_each_member(value, "resolver", [&](const std::string& name, const Member& member) {
    return read_resolver_field(reader, name, member.value, out, block);
  });
  const std::string type = to_lower(block.type);
  if (type == "mem" || type == "memory") {
    out.kind = ResolverOptions::Kind::Memory;
  } else if (type == "full" || type == "cache") {
    out.kind = type == "full" ? ResolverOptions::Kind::Full : ResolverOptions::Kind::Cache;
    check_directory(reader, value.at, out, block);
  } else {
    reader.fail(value.at, "error parsing account resolver, type should be MEM, FULL or CACHE");
  }
}

}  // namespace

void read_operators(Reader& reader, const Value& value, OperatorOptions& out) {
  std::vector<std::string> entries;
  reader.read_strings(value, "operator", entries);
  out.operators.clear();
  for (const std::string& entry : entries)
    read_operator(reader, value.at, entry, out);
}

void read_trusted_keys(Reader& reader, const Value& value, OperatorOptions& out) {
  out.trusted_keys.clear();
  reader.read_strings(value, "trusted_keys", out.trusted_keys);
  for (const std::string& key : out.trusted_keys) {
    if (looks_like_nkey(key, 'O')) continue;
    reader.fail(value.at,
                "trust key \"" + key + "\" required to be a valid public operator nkey");
  }
}

void read_resolver(Reader& reader, const Value& value, OperatorOptions& out) {
  ResolverOptions resolver;
  resolver.tls = std::move(out.resolver.tls);
  if (value.is_string()) {
    read_resolver_name(reader, value, resolver);
  } else if (value.is_map()) {
    read_resolver_block(reader, value, resolver);
  } else {
    reader.fail_type(value, "resolver", "MEMORY, URL(\"url\") or a map");
  }
  out.resolver = std::move(resolver);
}

void read_resolver_preload(Reader& reader, const Value& value, OperatorOptions& out) {
  if (!value.is_map()) {
    return reader.fail(value.at, "preload should be a map of account_public_key:account_jwt");
  }
  out.resolver_preload.clear();
  reader.for_each_member(value, "resolver_preload", [&](const std::string&, const Member& member) {
    if (member.value.is_used_variable) return true;
    if (!member.value.is_string()) {
      reader.fail(member.value.at, "preload map value should be a string JWT");
    } else if (!looks_like_jwt(member.value.text)) {
      reader.fail(member.value.at, "invalid account JWT");
    } else {
      out.resolver_preload[member.name] = member.value.text;
    }
    return true;
  });
}

}  // namespace brokkr::config
