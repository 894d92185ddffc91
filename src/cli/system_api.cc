#include "cli/system_api.h"

#include <algorithm>
#include <optional>

#include "base/bytes.h"
#include "cli/connect.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr Duration kStall = std::chrono::milliseconds(300);
constexpr const char* kPing = "$SYS.REQ.SERVER.PING";
const std::vector<json::Value> kNoItems;

}  // namespace

std::string ServerReply::error() const {
  const json::Value* error = json.find("error");
  if (error == nullptr || error->is_null()) return {};
  if (error->is_string()) return std::string(error->as_string());
  const std::string description(error->get_string("description"));
  return description.empty() ? "unknown error" : description;
}

std::string ServerReply::coded_error() const {
  const std::string words = error();
  return words.empty()
             ? words
             : words + " (" + std::to_string(number_in(json.find("error"), "err_code")) + ")";
}

std::string_view text_in(const json::Value* object, std::string_view member) {
  return object == nullptr ? std::string_view() : object->get_string(member);
}
int64_t number_in(const json::Value* object, std::string_view member) {
  return object == nullptr ? 0 : object->get_int(member);
}
bool flag_in(const json::Value* object, std::string_view member) {
  return object != nullptr && object->get_bool(member);
}
const std::vector<json::Value>& items_in(const json::Value* object, std::string_view member) {
  const json::Value* found = object == nullptr ? nullptr : object->find(member);
  return found == nullptr ? kNoItems : found->items();
}

Result<SystemApi> SystemApi::open(const Context& context, const Values& values) {
  SystemApi api;
  auto session = connect(context, values);
  if (!session) return session.error();
  api.session_ = std::move(*session);
  api.timeout_ = std::max<Duration>(values.duration("timeout"), std::chrono::milliseconds(1));
  api.is_tracing_ = values.is_on("trace");
  return api;
}

Result<std::vector<ServerReply>> SystemApi::ask(const std::string& subject, std::string_view body,
                                                uint64_t expected) {
  if (is_tracing_) remark(">>> " + subject + ": " + std::string(body));
  std::vector<ServerReply> replies;
  std::optional<Status> end;
  bool is_complete = false;
  client::ManyOptions options{timeout_, expected == 0 ? kStall : Duration{}, expected, false};
  const MonotonicTime start = session_->clock().now();
  auto sent = session_->connection().request_many(
      subject, body, options,
      [&](const client::Message& message) {
        if (is_tracing_) remark("<<< " + std::string(message.payload));
        auto parsed = json::parse(message.payload);
        if (!parsed) return;
        replies.push_back(
            {std::string(message.payload), std::move(*parsed), session_->clock().now() - start});
        // The statistics themselves say how many will answer.
        const int64_t active = number_in(replies.front().json.find("statsz"), "active_servers");
        if (active > 0 && replies.size() >= static_cast<uint64_t>(active)) is_complete = true;
      },
      [&](const Status& status) { end = status; });
  if (!sent) return sent.error();
  while (!end && !(is_complete && expected == 0))
    session_->loop().run_once(timeout_);
  if (!end) session_->connection().cancel(*sent);
  if (!end || *end || !replies.empty()) return replies;
  const Error& error = end->error();
  if (error.code == Errc::NoResponders) {
    return Error{Errc::Unsupported,
                 "server request failed, ensure the account used has system privileges and "
                 "appropriate permissions"};
  }
  if (error.code != Errc::TimedOut) return error;
  return replies;
}

Result<uint64_t> SystemApi::active_servers() {
  auto replies = ask(kPing, "{}", 1);
  if (!replies) return replies.error();
  if (replies->empty()) return uint64_t{0};
  const json::Value* stats = replies->front().json.find("statsz");
  return static_cast<uint64_t>(std::max<int64_t>(number_in(stats, "active_servers"), 0));
}

void add_server_filter(Draft& body, const Values& values, std::string_view name_flag) {
  if (const std::string name = values.text(name_flag); !name.empty())
    body.text("server_name", name);
  if (const std::string name = values.text("cluster"); !name.empty()) body.text("cluster", name);
  if (name_flag != "host" && !values.text("host").empty()) body.text("host", values.text("host"));
  body.flag("exact_match", true);
  if (const auto tags = values.all("tags"); !tags.empty()) body.texts("tags", tags);
  if (const std::string domain = values.text("js-domain"); !domain.empty())
    body.text("domain", domain);
}

std::vector<Flag> server_filter_flags() {
  Flag tags{"tags", "Limit the report to nodes matching certain tags", Kind::Text, "TAGS"};
  tags.is_repeated = true;
  return {{"host", "Limit the report to a specific NATS server", Kind::Text, "HOST"},
          {"cluster", "Limit the report to a specific Cluster", Kind::Text, "CLUSTER"},
          tags};
}

std::vector<std::string> compact_names(std::vector<std::string> names) {
  std::vector<std::vector<std::string_view>> parts;
  size_t shortest = SIZE_MAX;
  for (const std::string& name : names) {
    parts.push_back(split(name, '.'));
    shortest = std::min(shortest, parts.back().size());
  }
  std::string shared;
  for (size_t i = names.empty() ? 0 : shortest - 1; i > 0; --i) {
    const std::string_view part = parts[0][i];
    if (!std::all_of(parts.begin(), parts.end(), [&](const auto& one) { return one[i] == part; })) {
      break;
    }
    shared.insert(0, "." + std::string(part));
  }
  for (std::string& name : names) {
    if (!shared.empty() && name.ends_with(shared)) name.resize(name.size() - shared.size());
  }
  return names;
}

}  // namespace brokkr::cli
