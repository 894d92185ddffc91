#include "workload/witness.h"

#include "base/json.h"
#include "workload/control.h"
#include "workload/scheduler.h"

namespace brokkr::workload {
namespace {

constexpr std::string_view kWitnessVerb = "WITNESS";

std::string witness_subject() { return control_subject(kSystemNamespace, kWitnessVerb); }

}  // namespace

Witness::Witness(client::Connection& connection, std::string node, Events events)
    : connection_(connection), node_(std::move(node)), events_(std::move(events)) {}

Witness::~Witness() { *alive_ = false; }

Status Witness::open() {
  if (questions_ != nullptr) return {};
  auto subscription = connection_.subscribe(
      witness_subject(), [this](const client::Message& question) { answer(question); });
  if (!subscription) return subscription.error();
  questions_ = std::move(*subscription);
  return {};
}

void Witness::answer(const client::Message& question) {
  const auto asked = json::parse(question.payload);
  if (question.reply.empty() || !asked || asked->get_string("node") == node_) return;
  json::Writer out;
  out.begin_object().field("node", node_).field("is_blind", events_.is_blind()).end_object();
  // Without an answer the other one is careful.
  (void)connection_.publish(question.reply, out.text());
}

void Witness::ask(MonotonicTime now) {
  // What waits for a connection would all leave at once, for nothing.
  if (now - asked_at_ < kAskEvery || !connection_.is_connected()) return;
  asked_at_ = now;
  json::Writer out;
  out.begin_object().field("node", node_).end_object();
  client::ManyOptions options;
  options.timeout = kFenceAfter;
  (void)connection_.request_many(
      witness_subject(), out.text(), options,
      [this, now, alive = alive_](const client::Message& message) {
        if (!*alive) return;
        const auto answer = json::parse(message.payload);
        if (!answer || answer->get_string("node").empty()) return;
        events_.on_answer(std::string(answer->get_string("node")), answer->get_bool("is_blind"), now);
      },
      [](const Status&) {});
}

}  // namespace brokkr::workload
