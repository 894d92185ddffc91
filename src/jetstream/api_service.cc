#include "jetstream/api_service.h"

#include "broker/client_info.h"
#include "broker/turn_budget.h"
#include "jetstream/account.h"
#include "jetstream/consumer_api.h"
#include "jetstream/jetstream.h"
#include "jetstream/stream_api.h"

namespace brokkr::jetstream {
namespace {

constexpr std::string_view kPrefix = "$JS.API.";

// Everything but DIRECT.GET and CONSUMER.MSG.NEXT, to which streams and consumers subscribe: of
// those that are not there a requester is told that nobody listens.
constexpr std::string_view kTails[] = {
    "INFO",
    "STREAM.>",
    "CONSUMER.CREATE.>",
    "CONSUMER.DURABLE.>",
    "CONSUMER.NAMES.>",
    "CONSUMER.LIST.>",
    "CONSUMER.INFO.>",
    "CONSUMER.DELETE.>",
    "CONSUMER.PAUSE.>",
    "CONSUMER.UNPIN.>",
    "CONSUMER.RESET.>",
    "CONSUMER.LEADER.>",
};
constexpr std::string_view kSystemTails[] = {"INFO", "STREAM.>", "META.>", "SERVER.>", "ACCOUNT.>"};
// What a domain's prefix also stands for: on the left below it, on the right in the account.
constexpr std::pair<std::string_view, std::string_view> kForwarded[] = {
    {"CONSUMER.MSG.NEXT.>", kPrefix},
    {"DIRECT.GET.>", kPrefix},
    {"$KV.>", ""},
    {"$OBJ.>", ""},
};

bool changes_consumers(std::string_view token) {
  return token != "NAMES" && token != "LIST" && token != "INFO";
}

}  // namespace

ApiService::ApiService(JetStream& jetstream) : jetstream_(jetstream) {}

ApiService::~ApiService() = default;

void ApiService::stop() {
  subscriptions_.clear();
  queue_.clear();
}

void ApiService::serve(Account& account) {
  for (const std::string_view tail : kTails) listen(account, std::string(tail));
  const std::string& domain = jetstream_.options().domain;
  if (domain.empty()) return;
  const std::string prefix = "$JS." + domain + ".API.";
  for (const auto& [tail, to] : kForwarded) {
    forward(account, prefix + std::string(tail), prefix.size(), to);
  }
}

void ApiService::serve_system(Account& account) {
  for (const std::string_view tail : kSystemTails) listen(account, std::string(tail));
}

// A delivery to a subject of the API keeps the subject of its message: it asks for nothing.
void ApiService::listen(Account& account, const std::string& tail) {
  broker::Shard& shard = jetstream_.shard();
  subscriptions_.push_back(shard.subscribe(
      account.interest(), std::string(kPrefix) + tail, {},
      [this, &account](const broker::Message& message) {
        if (message.subject.starts_with(kPrefix)) take(account, message.subject, message);
      }));
  const std::string& domain = jetstream_.options().domain;
  if (domain.empty()) return;
  const std::string prefix = "$JS." + domain + ".API.";
  subscriptions_.push_back(shard.subscribe(
      account.interest(), prefix + tail, {},
      [this, &account, prefix](const broker::Message& message) {
        if (!message.subject.starts_with(prefix)) return;
        take(account, std::string(kPrefix).append(message.subject.substr(prefix.size())), message);
      }));
}

void ApiService::forward(Account& account, const std::string& pattern, size_t prefix_size,
                         std::string_view prefix) {
  const auto pass_on = [&account, prefix_size, prefix, begin = pattern.substr(0, prefix_size)](
                           const broker::Message& message) {
    if (!message.subject.starts_with(begin)) return;
    const std::string subject = std::string(prefix).append(message.subject.substr(prefix_size));
    const std::string_view headers = message.payload.substr(0, message.header_size);
    const std::string_view body = message.payload.substr(message.header_size);
    if (account.publish(subject, message.reply, headers, body) || message.reply.empty()) return;
    account.publish(message.reply, {}, "NATS/1.0 503\r\n\r\n", {});
  };
  subscriptions_.push_back(jetstream_.shard().subscribe(account.interest(), pattern, {}, pass_on));
}

void ApiService::take(Account& account, std::string_view subject, const broker::Message& message) {
  if (queue_.size() >= jetstream_.options().request_queue_limit) {
    ++dropped_;
    dropped_of_ = &account;
    jetstream_.loop().schedule(*this);
    return;
  }
  const std::string_view headers = message.payload.substr(0, message.header_size);
  const std::string_view body = message.payload.substr(message.header_size);
  queue_.emplace_back(account, std::string(subject), std::string(message.reply),
                      std::string(headers), std::string(body),
                      message.from != nullptr ? broker::client_info(*message.from)
                                              : std::string(message.client));
  jetstream_.loop().schedule(*this);
}

void ApiService::run() {
  tell_dropped();
  broker::TurnBudget budget(jetstream_.loop().clock());
  while (!queue_.empty()) {
    const ApiRequest request = std::move(queue_.front());
    queue_.pop_front();
    dispatch(request);
    if (budget.is_spent()) break;
  }
  if (!queue_.empty()) jetstream_.loop().schedule(*this);
}

void ApiService::dispatch(const ApiRequest& request) {
  if (request.token(0) == "CONSUMER" && request.token(1) != "LEADER") {
    if (auto status = check_request(request); !status) {
      return request.respond_error(consumer_response_type(request), status.error());
    }
    if (jetstream_.store().failure() != nullptr && changes_consumers(request.token(1))) {
      return request.respond_error(consumer_response_type(request), api_error(10008));
    }
    return handle_consumer_request(request.account(), request);
  }
  handle_stream_request(request);
}

void ApiService::tell_dropped() {
  if (dropped_ == 0) return;
  const std::string& server = jetstream_.server().snapshot()->settings->server_name;
  jetstream_.log().warn("JetStream API queue limit reached, dropped " + std::to_string(dropped_) +
                        " requests");
  dropped_of_->advise("$JS.EVENT.ADVISORY.API.LIMIT_REACHED",
                      "io.nats.jetstream.advisory.v1.api_limit_reached", [&](json::Writer& out) {
                        out.field("server", server).field("dropped", dropped_);
                      });
  dropped_ = 0;
}

}  // namespace brokkr::jetstream
