#include "cli/jetstream_api.h"

#include <algorithm>

#include "cli/connect.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr Duration kApiTimeoutMin = std::chrono::milliseconds(500);

Error api_error(const json::Value& error) {
  const int64_t code = error.get_int("code");
  const std::string number = std::to_string(error.get_int("err_code"));
  const std::string_view description = error.get_string("description");
  const Errc kind = code == 404 ? Errc::NotFound : Errc::Unavailable;
  if (!description.empty()) return {kind, std::string(description) + " (" + number + ")"};
  if (code == 0) return {kind, "unknown JetStream Error"};
  return {kind, "unknown JetStream " + std::to_string(code) + " Error (" + number + ")"};
}

Error transport_error(const Error& error) {
  if (error.code == Errc::NoResponders) {
    return {Errc::Unsupported, "nats: no responders available for request"};
  }
  if (error.code == Errc::TimedOut) return {Errc::Unavailable, "context deadline exceeded"};
  return error;
}

}  // namespace

Result<JetStream> JetStream::open(const Context& context, const Values& values) {
  JetStream js;
  auto prefix = jetstream_prefix(values);
  if (!prefix) return prefix.error();
  auto session = connect(context, values);
  if (!session) return session.error();
  js.session_ = std::move(*session);
  js.prefix_ = std::move(*prefix);
  js.timeout_ = std::max(values.duration("timeout"), kApiTimeoutMin);
  js.is_tracing_ = values.is_on("trace");
  return js;
}

Result<json::Value> JetStream::request(std::string_view verb, std::string_view body) {
  const std::string to = subject(verb);
  if (is_tracing_) remark(">>> " + to + "\n" + std::string(body) + "\n");
  auto reply = session_->request(to, body, timeout_);
  if (!reply) return transport_error(reply.error());
  if (is_tracing_) remark("<<< " + to + "\n" + reply->payload + "\n");
  // What a server says before it reads a request as JSON.
  if (reply->payload.starts_with("-ERR '") && reply->payload.ends_with('\'')) {
    return Error{Errc::Unavailable, reply->payload.substr(6, reply->payload.size() - 7)};
  }
  auto parsed = json::parse(reply->payload);
  if (!parsed) return Error{Errc::Corrupt, "answer of " + to + ": " + parsed.error().text};
  const json::Value* error = parsed->find("error");
  if (error != nullptr && error->is_object()) return api_error(*error);
  return parsed;
}

Result<std::vector<json::Value>> JetStream::list(std::string_view verb, std::string_view member,
                                                 std::string_view body_members) {
  std::vector<json::Value> items;
  missing.clear();
  offline.clear();
  int64_t offset = 0;
  while (true) {
    std::string body = "{\"offset\":" + std::to_string(offset);
    if (!body_members.empty()) body += "," + std::string(body_members);
    auto page = request(verb, body + "}");
    if (!page) return page.error();
    if (const json::Value* found = page->find(member)) {
      items.insert(items.end(), found->items().begin(), found->items().end());
    }
    if (const json::Value* found = page->find("missing")) {
      for (const json::Value& name : found->items()) missing.emplace_back(name.as_string());
    }
    if (const json::Value* found = page->find("offline")) {
      for (const auto& [name, why] : found->members()) offline.emplace_back(name, why.as_string());
    }
    const int64_t limit = page->get_int("limit");
    offset += limit;
    if (offset >= page->get_int("total")) return items;
    if (limit <= 0) {
      return Error{Errc::Corrupt,
                   "invalid response: server indicated more pages but returned zero item limit"};
    }
  }
}

Result<std::vector<std::string>> JetStream::names(std::string_view verb, std::string_view member,
                                                  std::string_view body_members) {
  auto items = list(verb, member, body_members);
  if (!items) return items.error();
  std::vector<std::string> names;
  for (const json::Value& item : *items) names.emplace_back(item.as_string());
  std::sort(names.begin(), names.end());
  return names;
}

Result<int64_t> JetStream::level() {
  auto info = request("INFO");
  if (!info) return info.error();
  const json::Value* api = info->find("api");
  return api == nullptr ? 0 : api->get_int("level");
}

bool is_valid_name(std::string_view name) {
  return !name.empty() && name.find_first_of(">*. /\\") == std::string_view::npos;
}

bool is_key_value_stream(std::string_view name) { return name.starts_with("KV_"); }
bool is_internal_stream(std::string_view name) {
  return is_key_value_stream(name) || name.starts_with("OBJ_") || name.starts_with("$MQTT_");
}

Error prefixed(std::string_view text, const Error& error) {
  return {error.code, std::string(text) + ": " + error.text};
}

}  // namespace brokkr::cli
