// What a program publishes: where it may go, which answers it may ask for, and the requests to JetStream
// that need a closer look.
#include "subject/subject.h"
#include "workload/api_body.h"
#include "workload/gate_connection.h"
#include "workload/outgoing_headers.h"
#include "workload/stream_lists.h"

namespace brokkr::workload {
namespace {

constexpr size_t kPublishAnswersMax = 256;
constexpr size_t kListsAwaitedMax = 8;

// Replies a server takes for something else, or which a request's answer would be a request at.
bool is_reserved_reply(std::string_view reply) {
  return reply.starts_with('$') || reply.starts_with("_R_.") || reply.starts_with("_GR_.");
}

}  // namespace

void GivenReplies::add(std::string_view reply, MonotonicTime now) {
  const auto found = given_.find(reply);
  if (found != given_.end()) {
    found->second = now;
    return;
  }
  while (order_.size() >= kMax) {
    given_.erase(order_.front());
    order_.pop_front();
  }
  order_.emplace_back(reply);
  given_.emplace(order_.back(), now);
}

bool GivenReplies::has(std::string_view subject, MonotonicTime now) const {
  const auto found = given_.find(subject);
  return found != given_.end() && now - found->second <= kKept;
}

// Remembers the answers: a program publishes to few subjects, save acknowledgements.
bool GateConnection::may_publish(std::string_view subject) {
  if (subject.starts_with("$JS.")) return shared_.access().may_publish(subject);
  const auto known = publish_answers_.find(subject);
  if (known != publish_answers_.end()) return known->second;
  if (publish_answers_.size() >= kPublishAnswersMax) publish_answers_.clear();
  return publish_answers_.emplace(subject, shared_.access().may_publish(subject)).first->second;
}

// Whether some program of the workload may listen there.
bool GateConnection::is_own_inbox(std::string_view subject) const {
  return shared_.inboxes.is_ours(subject) || shared_.inbox_roots.contains("*") ||
         shared_.inbox_roots.contains(subject::token_at(subject, 1));
}

bool GateConnection::ask(std::string_view subject, std::string_view reply) {
  if (state_ != State::Open) return false;
  const client::Message request{.subject = subject, .reply = reply, .headers = {}, .payload = {}, .sid = {}};
  for (const auto& [sid, sub] : subs_) {
    if (!request.matches(sub->subject)) continue;
    write_message(subject, sid, reply, {}, {});
    return true;
  }
  return false;
}

// What answers the node's question does not go to the server.
bool GateConnection::take_node_answer(std::string_view subject) {
  if (!subject.starts_with(shared_.question_prefix)) return false;
  send_ok();
  if (subject != shared_.question_reply) return true;  // too late
  shared_.question_reply.clear();
  // Who asked may do away with this connection.
  shared_.deps.loop.post([answered = std::move(shared_.question_answered)] { (*answered)(); });
  return true;
}

// The reply as the server is to know it. Answers come where the program may listen or publish, and
// never where they would be read as requests.
std::string GateConnection::outward_reply(std::string_view reply, bool& is_allowed) {
  is_allowed = true;
  if (reply.empty()) return {};
  if (shared_.replies.has(reply, shared_.deps.loop.now())) return std::string(reply);
  if (Inboxes::is_inbox(reply)) return shared_.inboxes.to_server(reply);
  is_allowed = !is_reserved_reply(reply) &&
               (shared_.access().may_subscribe(reply) || may_publish(reply));
  return std::string(reply);
}

bool GateConnection::handle_publish(const protocol::Command& command) {
  if (command.verb == protocol::Verb::Hpub && !connect_.headers) {
    close_later();
    return true;
  }
  if (connect_.pedantic && !subject::is_valid_literal(command.subject)) {
    send_error("Invalid Publish Subject");
  }
  if (take_node_answer(command.subject)) return true;
  std::string subject(command.subject);
  if (!shared_.replies.has(subject, shared_.deps.loop.now())) {
    const bool is_inbox = Inboxes::is_inbox(subject);
    if (is_inbox ? !is_own_inbox(subject) : !may_publish(subject)) {
      if (!is_list_request(subject)) {
        refuse("Permissions Violation for Publish to ", subject);
        answer_locally(command.reply, subject.starts_with("$JS.API.") && !command.reply.empty()
                                          ? api_error(subject, {Errc::PermissionDenied, subject})
                                          : std::string());
        return true;
      }
    } else if (is_inbox) {
      subject = shared_.inboxes.to_server(subject);
    }
  }
  bool is_allowed = true;
  const std::string reply = outward_reply(command.reply, is_allowed);
  if (!is_allowed) {
    refuse("Permissions Violation for Publish with Reply of ", command.reply);
    return true;
  }
  const std::string headers = outgoing_headers(command.payload.substr(0, command.header_size));
  std::string_view payload = command.payload.substr(command.header_size);
  if (is_list_request(subject)) {
    send_ok();
    return take_api_request(command);
  }
  std::string body;
  if (has_api_body(subject)) {
    auto checked = check_api_body(shared_.access(), shared_.inboxes, subject, payload);
    if (!checked) {
      if (checked.error().code == Errc::PermissionDenied) ++shared_.counters.violations;
      send_ok();
      answer_locally(command.reply, api_error(subject, checked.error()));
      return true;
    }
    body = std::move(*checked);
    payload = body;
  }
  const Status sent = upstream_->publish(subject, payload, {.reply = reply, .headers = headers});
  if (!sent && sent.error().code == Errc::LimitExceeded &&
      headers.size() + payload.size() <= parser_.limits().payload_max) {
    return false;
  }
  if (!sent) {
    send_error(sent.error().code == Errc::LimitExceeded ? "Maximum Payload Violation"
                                                        : "Invalid Publish Subject");
    return true;
  }
  ++shared_.counters.in_msgs;
  shared_.counters.in_bytes += command.payload.size();
  send_ok();
  return true;
}

bool GateConnection::take_api_request(const protocol::Command& command) {
  if (command.reply.empty() || shared_.control == nullptr) return true;
  if (lists_awaited_ >= kListsAwaitedMax) {
    answer_locally(command.reply,
                   api_error(command.subject, {Errc::Unavailable, "too many lists are awaited"}));
    return true;
  }
  ++lists_awaited_;
  answer_list_request(
      *shared_.control, shared_.options.access, command.subject,
      command.payload.substr(command.header_size),
      [this, alive = std::weak_ptr<bool>(alive_), reply = std::string(command.reply)](
          const Result<std::string>& answer) {
        if (alive.expired()) return;
        --lists_awaited_;
        if (state_ != State::Open) return;
        answer_locally(reply, answer ? *answer : std::string());
      });
  return true;
}

// A message from here to whom of this program's subscriptions it concerns; an empty one says that
// nobody answers.
void GateConnection::answer_locally(std::string_view reply, std::string_view payload) {
  if (reply.empty()) return;
  if (payload.empty() && !connect_.no_responders) return;
  for (const auto& [sid, sub] : subs_) {
    if (!subject::matches(sub->subject, reply)) continue;
    return write_message(reply, sid, {}, payload.empty() ? "NATS/1.0 503\r\n\r\n" : "", payload);
  }
}

}  // namespace brokkr::workload
