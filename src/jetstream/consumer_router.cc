#include "jetstream/consumer_router.h"

#include <utility>

#include "jetstream/account.h"
#include "jetstream/ack_subject.h"
#include "jetstream/jetstream.h"
#include "jetstream/stream_consumer.h"
#include "subject/subject.h"

namespace brokkr::jetstream {
namespace {

constexpr std::string_view kPullPrefix = "$JS.API.CONSUMER.MSG.NEXT.";
constexpr std::string_view kFlowControlPrefix = "$JS.FC.";

}  // namespace

// Double acknowledgements to answer. Shared with the callbacks that answer them, which may come when
// the router is gone.
struct ConsumerRouter::Answers {
  ConsumerRouter* router = nullptr;
  std::vector<std::string> gathered;
};

ConsumerRouter::ConsumerRouter(Account& account)
    : account_(account), answers_(std::make_shared<Answers>()) {
  answers_->router = this;
  const std::string& domain = account.jetstream().options().domain;
  domain_and_hash_ = (domain.empty() ? "_" : domain) + "." + name_hash(account.name());
  broker::Shard& shard = account.jetstream().shard();
  const auto subscribe = [&](const char* pattern, void (ConsumerRouter::*handler)(const broker::Message&)) {
    // A delivery to one of these subjects keeps the subject of its message: it asks for nothing.
    const std::string_view prefix = std::string_view(pattern).substr(0, std::string_view(pattern).find_first_of("*>"));
    return shard.subscribe(account.interest(), pattern, {},
                           [this, handler, prefix](const broker::Message& message) {
                             if (message.subject.starts_with(prefix)) (this->*handler)(message);
                           });
  };
  acks_ = subscribe("$JS.ACK.>", &ConsumerRouter::on_ack);
  flow_control_ = subscribe("$JS.FC.>", &ConsumerRouter::on_flow_control);
  pulls_ = subscribe("$JS.API.CONSUMER.MSG.NEXT.*.*", &ConsumerRouter::on_pull);
}

ConsumerRouter::~ConsumerRouter() { answers_->router = nullptr; }

ConsumerRouter& Account::router() {
  if (router_ == nullptr) router_ = std::make_shared<ConsumerRouter>(*this);
  return *router_;
}

void ConsumerRouter::add(StreamConsumer& consumer) { consumers_[consumer.key()] = &consumer; }

void ConsumerRouter::remove(StreamConsumer& consumer) {
  const auto found = consumers_.find(consumer.key());
  if (found != consumers_.end() && found->second == &consumer) consumers_.erase(found);
}

StreamConsumer* ConsumerRouter::find(std::string_view key) const {
  const auto found = consumers_.find(key);
  return found == consumers_.end() ? nullptr : found->second;
}

void ConsumerRouter::on_ack(const broker::Message& message) {
  AckSubject ack;
  StreamConsumer* consumer = nullptr;
  if (parse_ack_subject(message.subject, ack) &&
      (ack.domain_and_hash.empty() || ack.domain_and_hash == domain_and_hash_)) {
    consumer = find(ack.consumer);
  }
  if (consumer == nullptr || !consumer->takes_acks()) return refuse(message);
  consumer->on_ack(ack, message.payload.substr(message.header_size), message.reply);
}

// $JS.FC.<stream>.<consumer>.<id> or $JS.FC.<domain>.<hash>.<stream>.<consumer>.<id>
void ConsumerRouter::on_flow_control(const broker::Message& message) {
  std::string_view rest = message.subject.substr(kFlowControlPrefix.size());
  const size_t tokens = subject::token_count(rest);
  if (tokens == 5 && rest.starts_with(domain_and_hash_ + ".")) {
    rest.remove_prefix(domain_and_hash_.size() + 1);
  } else if (tokens != 3) {
    return refuse(message);
  }
  StreamConsumer* consumer = find(rest.substr(0, rest.rfind('.')));
  if (consumer == nullptr || !consumer->config().flow_control) return refuse(message);
  consumer->on_flow_control(message.subject, message.payload.substr(0, message.header_size));
}

void ConsumerRouter::on_pull(const broker::Message& message) {
  StreamConsumer* consumer = find(message.subject.substr(kPullPrefix.size()));
  if (consumer == nullptr) return refuse(message);
  consumer->on_pull_request(message.reply, message.payload.substr(0, message.header_size),
                            message.payload.substr(message.header_size));
}

void ConsumerRouter::refuse(const broker::Message& message) {
  if (message.reply.empty()) return;
  if (message.from != nullptr && !message.from->wants_no_responders()) return;
  std::string headers = "NATS/1.0 503\r\nNats-Subject: ";
  headers.append(message.subject).append("\r\n\r\n");
  account_.deliver(message.reply, message.reply, {}, headers, {});
}

void ConsumerRouter::answer_when_durable(std::string_view reply) {
  answers_->gathered.emplace_back(reply);
  account_.jetstream().loop().schedule(*this);
}

// Everything the acknowledgements of this turn changed has been said by now.
void ConsumerRouter::run() {
  std::vector<std::string> replies;
  replies.swap(answers_->gathered);
  account_.jetstream().store().when_durable(
      [answers = answers_, replies = std::move(replies)] {
        if (answers->router == nullptr) return;
        for (const std::string& reply : replies) {
          answers->router->account_.deliver(reply, reply, {}, {}, {});
        }
      });
}

}  // namespace brokkr::jetstream
