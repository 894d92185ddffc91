// Requests for messages: who waits, who is served next, and what the others are told.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <utility>

#include "base/bytes.h"
#include "jetstream/stream_consumer.h"
#include "protocol/headers.h"

namespace brokkr::jetstream {
namespace {

using namespace std::chrono_literals;

// How often a full queue is searched for requests nobody waits for any more.
constexpr Duration kTendInterval = 1s;
constexpr std::string_view kRequiredApiLevel = "Nats-Required-Api-Level";

bool asks_for_newer_level(std::string_view headers) {
  if (headers.empty()) return false;
  const auto block = protocol::Headers::parse(headers);
  const auto level = block ? block->find(kRequiredApiLevel) : std::nullopt;
  if (!level) return false;
  const std::optional<int64_t> number = parse_int(trim(*level));
  return !number || *number > kApiLevel;
}

}  // namespace

void StreamConsumer::on_pull_request(std::string_view reply, std::string_view headers,
                                     std::string_view body) {
  if (reply.empty() || has_ended_) return;
  if (config_.is_push()) return send_status(reply, "409 Consumer is push based");
  if (asks_for_newer_level(headers)) return send_status(reply, "412 Required Api Level");
  std::unique_ptr<PullRequest> request = pull_->take_blank();
  std::string problem;
  if (!parse_pull_request(body, *request, problem)) {
    problem = "400 Bad Request - " + problem;
  } else {
    problem = check_request(*request);
  }
  request->reply = reply;
  if (!problem.empty()) {
    send_status(reply, problem);
    return pull_->recycle(std::move(request));
  }
  const MonotonicTime time = now();
  if (request->expires_in != Duration()) request->expires = time + request->expires_in;
  if (request->heartbeat > Duration()) request->heartbeat_at = time + request->heartbeat;
  if (pull_->is_full() && time - requests_tended_ > kTendInterval) tend_requests(false, true);
  if (request->no_wait && !check_no_wait(*request)) return pull_->recycle(std::move(request));
  add_request(std::move(request));
}

// Why the request cannot be taken, as a status line; empty when it can.
std::string StreamConsumer::check_request(const PullRequest& request) const {
  if (config_.max_batch > 0 && request.batch > config_.max_batch) {
    return "409 Exceeded MaxRequestBatch of " + std::to_string(config_.max_batch);
  }
  if (config_.max_expires > Duration() && request.expires_in > config_.max_expires) {
    return "409 Exceeded MaxRequestExpires of " + format_go_duration(config_.max_expires);
  }
  if (request.bytes > 0 && config_.max_bytes > 0 && request.bytes > config_.max_bytes) {
    return "409 Exceeded MaxRequestMaxBytes of " + std::to_string(config_.max_bytes);
  }
  if (!request.is_formal) return {};
  const PriorityPolicy policy = config_.priority_policy;
  if ((request.min_pending != 0 || request.min_ack_pending != 0) && policy != PriorityPolicy::Overflow) {
    return "400 Bad Request - Not a Overflow Priority consumer";
  }
  if (!request.pin_id.empty() && policy != PriorityPolicy::PinnedClient) {
    return "400 Bad Request - Not a Pinned Client Priority consumer";
  }
  if (request.priority < 0 || request.priority > 9) {
    return "400 Bad Request - Priority must be between 0 and 9";
  }
  if (policy == PriorityPolicy::None) return {};
  if (request.group.empty()) return "400 Bad Request - Priority Group missing";
  const auto& groups = config_.priority_groups;
  if (std::find(groups.begin(), groups.end(), request.group) == groups.end()) {
    return "400 Bad Request - Invalid Priority Group";
  }
  if (!pin_id_.empty() && !request.pin_id.empty() && request.pin_id != pin_id_) {
    return "423 Nats-Pin-Id mismatch";
  }
  return {};
}

// False when a request that does not wait has been answered: there is nothing for it.
bool StreamConsumer::check_no_wait(const PullRequest& request) {
  const uint64_t pending = num_pending() + redelivery_count_;
  if (pending == 0 && request.expires_in == Duration()) {
    last_request_ = now();
    send_status(request.reply, "404 No Messages");
    return false;
  }
  if (pending == 0) return true;
  const int64_t wanted = tend_requests(false, true);
  if (wanted <= 0 || pending >= static_cast<uint64_t>(wanted)) return true;
  last_request_ = now();
  send_status(request.reply, "408 Requests Pending");
  return false;
}

void StreamConsumer::add_request(std::unique_ptr<PullRequest> request) {
  if (pull_->is_full()) {
    // One that waits for heartbeats finds out by itself, and would only ask again at once.
    if (request->heartbeat == Duration()) send_status(request->reply, "409 Exceeded MaxWaiting");
    return pull_->recycle(std::move(request));
  }
  if (!pin_id_.empty() && request->pin_id == pin_id_) {
    pin_ends_ = now() + config_.priority_timeout;
  }
  last_request_ = now();
  if (request->expires != MonotonicTime()) arm(request->expires);
  if (request->heartbeat_at != MonotonicTime()) arm(request->heartbeat_at);
  pull_->add(std::move(request), config_.priority_policy == PriorityPolicy::Prioritized);
  wake();
}

// --- serving

void StreamConsumer::deliver_to_requests() {
  Next next = Next::Message;
  while (!pull_->empty()) {
    if (!may_deliver_more()) return;
    Candidate candidate;
    next = next_message(candidate);
    if (next != Next::Message || !deliver_to_request(candidate)) break;
  }
  if (next == Next::Error) return arm(now() + 1s);
  if (pull_->no_wait_count() > 0) tend_requests(next != Next::TooManyPending, false);
}

// False when nobody of those who wait wants it.
bool StreamConsumer::deliver_to_request(Candidate& candidate) {
  write_ack_reply(candidate);
  const size_t size = size_of(candidate);
  const bool is_prioritized = config_.priority_policy == PriorityPolicy::Prioritized;
  size_t skipped = 0;
  while (!pull_->empty()) {
    PullRequest& request = *pull_->front();
    switch (take_turn(request, size)) {
      case Turn::Serve:
        if (send(candidate, request.reply, pin_id_)) {
          serve(request, candidate);
          return true;
        }
        // Whoever asked has gone.
        pull_->remove(request);
        break;
      case Turn::Skip:
        pull_->rotate(request, is_prioritized);
        if (++skipped >= pull_->size()) return false;
        break;
      case Turn::Drop: break;  // is no more
    }
  }
  return false;
}

StreamConsumer::Turn StreamConsumer::take_turn(PullRequest& request, size_t size) {
  if (request.expires != MonotonicTime() && request.expires <= now()) {
    end_request(request, "408 Request Timeout", true);
    return Turn::Drop;
  }
  if (config_.priority_policy == PriorityPolicy::PinnedClient) {
    const Turn turn = check_pin(request);
    if (turn != Turn::Serve) return turn;
  }
  if (config_.priority_policy == PriorityPolicy::Overflow && !is_overflowing(request)) return Turn::Skip;
  return request.bytes > 0 ? charge(request, size) : Turn::Serve;
}

StreamConsumer::Turn StreamConsumer::check_pin(PullRequest& request) {
  if (pin_id_.empty() && request.pin_id.empty()) {
    if (!stream_.account().has_interest(request.reply)) {
      pull_->remove(request);
      return Turn::Drop;
    }
    assign_pin(request);
    return Turn::Serve;
  }
  if (request.pin_id.empty()) return Turn::Skip;
  if (request.pin_id == pin_id_) return Turn::Serve;
  end_request(request, "423 Nats-Wrong-Pin-Id", true);
  return Turn::Drop;
}

// Whether enough waits for a request that only helps out.
bool StreamConsumer::is_overflowing(const PullRequest& request) {
  if (request.min_pending <= 0 && request.min_ack_pending <= 0) return true;
  const auto pending = static_cast<int64_t>(pending_count_);
  const auto ack_pending = static_cast<int64_t>(state_->pending().size());
  return (request.min_pending > 0 && request.min_pending <= pending) ||
         (request.min_ack_pending > 0 && request.min_ack_pending <= ack_pending);
}

StreamConsumer::Turn StreamConsumer::charge(PullRequest& request, size_t size) {
  const auto bytes = static_cast<int64_t>(size);
  if (bytes > request.bytes) {
    end_request(request, "409 Message Size Exceeds MaxBytes", true);
    return Turn::Drop;
  }
  request.bytes -= bytes;
  if (request.bytes == 0) request.batch = 1;
  return Turn::Serve;
}

void StreamConsumer::serve(PullRequest& request, const Candidate& candidate) {
  mark_delivered(candidate);
  if (inactive_after_ > Duration()) last_request_ = now();
  ++request.delivered;
  if (--request.batch > 0) {
    if (request.heartbeat > Duration()) request.heartbeat_at = now() + request.heartbeat;
    return pull_->rotate(request, config_.priority_policy == PriorityPolicy::Prioritized);
  }
  if (request.bytes > 0) return end_request(request, "409 Batch Completed", true);
  pull_->remove(request);
}

// --- waiting

bool StreamConsumer::is_request_due() const {
  const MonotonicTime time = now();
  const auto is_due = [time](MonotonicTime at) { return at != MonotonicTime() && at <= time; };
  for (const PullRequest* each = pull_->front(); each != nullptr; each = each->next) {
    if (is_due(each->expires) || is_due(each->heartbeat_at)) return true;
  }
  return false;
}

int64_t StreamConsumer::tend_requests(bool is_end, bool check_interest) {
  const MonotonicTime time = now();
  requests_tended_ = time;
  int64_t wanted = 0;
  for (PullRequest* request = pull_->front(); request != nullptr;) {
    PullRequest& each = *request;
    request = request->next;
    if (each.expires != MonotonicTime() && each.expires <= time) {
      end_request(each, "408 Request Timeout", true);
    } else if (is_end && each.no_wait && (each.expires == MonotonicTime() || each.delivered > 0)) {
      end_request(each, "404 No Messages", false);
    } else if (check_interest && !stream_.account().has_interest(each.reply)) {
      pull_->remove(each);
    } else {
      wanted += each.batch;
      if (each.heartbeat_at != MonotonicTime() && each.heartbeat_at <= time) {
        send_heartbeat(each.reply);
        each.heartbeat_at = time + each.heartbeat;
      }
    }
  }
  return wanted;
}

void StreamConsumer::end_request(PullRequest& request, std::string_view status, bool with_pending) {
  char more[96];
  char* end = more;
  if (with_pending) {
    const auto put = [&end](std::string_view text) { end = std::copy(text.begin(), text.end(), end); };
    put("Nats-Pending-Messages: ");
    end = std::to_chars(end, end + 20, request.batch).ptr;
    put("\r\nNats-Pending-Bytes: ");
    end = std::to_chars(end, end + 20, request.bytes).ptr;
    put("\r\n");
  }
  send_status(request.reply, status, {more, static_cast<size_t>(end - more)});
  pull_->remove(request);
}

void StreamConsumer::send_status(std::string_view to, std::string_view status, std::string_view more) {
  std::string block;
  block.reserve(status.size() + more.size() + 16);
  block.append("NATS/1.0 ").append(status).append("\r\n").append(more).append("\r\n");
  stream_.account().deliver(to, to, {}, block, {});
}

// --- pinned clients

void StreamConsumer::assign_pin(PullRequest& request) {
  pin_id_ = stream_.account().jetstream().next_id();
  pinned_at_ = stream_.account().jetstream().now();
  request.pin_id = pin_id_;
  pin_ends_ = now() + config_.priority_timeout;
  arm(pin_ends_);
  advise_pin(request.group, {});
}

void StreamConsumer::drop_pin() {
  pin_id_.clear();
  pinned_at_ = {};
  pin_ends_ = {};
}

void StreamConsumer::unpin(std::string_view group) {
  drop_pin();
  advise_pin(group, "admin");
  wake();
}

}  // namespace brokkr::jetstream
