#include "jetstream/pull_queue.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/json.h"

namespace brokkr::jetstream {
namespace {

constexpr size_t kBlanksMax = 64;

bool take_integer(const json::Value& value, int64_t& out) {
  if (value.is_null()) return true;
  const std::optional<int64_t> number = value.as_int();
  if (!number) return false;
  out = *number;
  return true;
}

bool take_pull_field(std::string_view name, const json::Value& value, PullRequest& out,
                     int64_t& expires_ns, int64_t& heartbeat_ns) {
  const auto take_text = [&](std::string& text) {
    if (value.is_string()) text = value.as_string();
    return value.is_string() || value.is_null();
  };
  if (name == "batch") return take_integer(value, out.batch);
  if (name == "expires") return take_integer(value, expires_ns);
  if (name == "max_bytes") return take_integer(value, out.bytes);
  if (name == "idle_heartbeat") return take_integer(value, heartbeat_ns);
  if (name == "min_pending") return take_integer(value, out.min_pending);
  if (name == "min_ack_pending") return take_integer(value, out.min_ack_pending);
  if (name == "priority") return take_integer(value, out.priority);
  if (name == "group") return take_text(out.group);
  if (name == "id") return take_text(out.pin_id);
  if (name == "no_wait") {
    if (value.is_bool()) out.no_wait = *value.as_bool();
    return value.is_bool() || value.is_null();
  }
  return true;
}

// `{"batch":10,"expires":5000000000}` and the like, which is what clients send nearly always: plain
// integers and true or false. False when it is anything else, and nothing is said of it then.
bool parse_plain_request(std::string_view text, PullRequest& out, int64_t& expires_ns,
                         int64_t& heartbeat_ns) {
  size_t at = 1;
  while (at < text.size()) {
    if (text[at++] != '"') return false;
    const size_t end = text.find('"', at);
    if (end == std::string_view::npos || end + 1 >= text.size() || text[end + 1] != ':') return false;
    const std::string_view name = text.substr(at, end - at);
    at = end + 2;
    const size_t stop = text.find_first_of(",}", at);
    if (stop == std::string_view::npos) return false;
    const std::string_view value = text.substr(at, stop - at);
    if (name == "no_wait") {
      if (value != "true" && value != "false") return false;
      out.no_wait = value == "true";
    } else {
      const std::optional<uint64_t> number = parse_uint(value);
      if (!number || *number > INT64_MAX || (value.size() > 1 && value[0] == '0')) return false;
      const auto n = static_cast<int64_t>(*number);
      if (name == "batch") out.batch = n;
      else if (name == "expires") expires_ns = n;
      else if (name == "max_bytes") out.bytes = n;
      else if (name == "idle_heartbeat") heartbeat_ns = n;
      else return false;
    }
    at = stop + 1;
    if (text[stop] == '}') return at == text.size();
  }
  return false;
}

bool parse_formal_request(std::string_view text, PullRequest& out, std::string& reason) {
  int64_t expires_ns = 0;
  int64_t heartbeat_ns = 0;
  out.batch = 0;
  if (!parse_plain_request(text, out, expires_ns, heartbeat_ns)) {
    out.clear();
    out.batch = 0;
    expires_ns = heartbeat_ns = 0;
    const Result<json::Value> value = json::parse(text);
    if (!value) {
      reason = value.error().text;
      return false;
    }
    for (const auto& [name, member] : value->members()) {
      if (take_pull_field(to_lower(name), member, out, expires_ns, heartbeat_ns)) continue;
      reason = "json: cannot unmarshal into Go struct field JSApiConsumerGetNextRequest." + name;
      return false;
    }
  }
  out.is_formal = true;
  if (heartbeat_ns > 0 && (heartbeat_ns > INT64_MAX / 2 || heartbeat_ns * 2 > expires_ns)) {
    reason = "heartbeat value too large";
    return false;
  }
  out.expires_in = Duration(expires_ns);
  out.heartbeat = Duration(std::max<int64_t>(heartbeat_ns, 0));
  return true;
}

}  // namespace

void PullRequest::clear() {
  std::string reply_memory = std::move(reply);
  std::string group_memory = std::move(group);
  std::string pin_memory = std::move(pin_id);
  *this = PullRequest();
  reply = std::move(reply_memory);
  group = std::move(group_memory);
  pin_id = std::move(pin_memory);
  reply.clear();
  group.clear();
  pin_id.clear();
}

bool parse_pull_request(std::string_view body, PullRequest& out, std::string& reason) {
  const std::string_view text = trim(body);
  if (text.empty()) return true;
  if (text[0] == '{') return parse_formal_request(text, out, reason);
  std::string_view digits = text;
  if (digits[0] == '+') digits.remove_prefix(1);
  if (const std::optional<int64_t> number = parse_int(digits)) out.batch = *number;
  return true;
}

PullQueue::~PullQueue() {
  while (first_ != nullptr) remove(*first_);
}

std::unique_ptr<PullRequest> PullQueue::take_blank() {
  if (blanks_.empty()) return std::make_unique<PullRequest>();
  std::unique_ptr<PullRequest> request = std::move(blanks_.back());
  blanks_.pop_back();
  return request;
}

void PullQueue::recycle(std::unique_ptr<PullRequest> request) {
  if (blanks_.size() >= kBlanksMax) return;
  request->clear();
  blanks_.push_back(std::move(request));
}

void PullQueue::add(std::unique_ptr<PullRequest> request, bool is_prioritized) {
  link(*request.release(), is_prioritized);
}

void PullQueue::remove(PullRequest& request) {
  unlink(request);
  recycle(std::unique_ptr<PullRequest>(&request));
}

void PullQueue::rotate(PullRequest& request, bool is_prioritized) {
  if (size_ == 1) return;
  unlink(request);
  link(request, is_prioritized);
}

void PullQueue::link(PullRequest& request, bool is_prioritized) {
  PullRequest* after = last_;
  if (is_prioritized) {
    while (after != nullptr && after->priority > request.priority) after = after->previous;
  }
  request.previous = after;
  request.next = after == nullptr ? first_ : after->next;
  (request.next == nullptr ? last_ : request.next->previous) = &request;
  (after == nullptr ? first_ : after->next) = &request;
  ++size_;
  if (request.no_wait) ++no_wait_count_;
}

void PullQueue::unlink(PullRequest& request) {
  (request.next == nullptr ? last_ : request.next->previous) = request.previous;
  (request.previous == nullptr ? first_ : request.previous->next) = request.next;
  request.next = request.previous = nullptr;
  --size_;
  if (request.no_wait) --no_wait_count_;
}

}  // namespace brokkr::jetstream
