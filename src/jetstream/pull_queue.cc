#include "jetstream/pull_queue.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/json.h"
#include "jetstream/go_json.h"

namespace brokkr::jetstream {
namespace {

constexpr size_t kBlanksMax = 64;

bool take_pull_field(JsonMember& in, PullRequest& out, int64_t& expires_ns, int64_t& heartbeat_ns) {
  return in("batch", out.batch, "int") || in("expires", expires_ns, "time.Duration") ||
         in("max_bytes", out.bytes, "int") || in("no_wait", out.no_wait) ||
         in("idle_heartbeat", heartbeat_ns, "time.Duration") || in("group", out.group) ||
         in("min_pending", out.min_pending) || in("min_ack_pending", out.min_ack_pending) ||
         in("id", out.pin_id) || in("priority", out.priority, "int");
}

// Go's plain decoder, which reads these requests, does not say where, and calls a text that is cut
// short by another name.
std::string without_offset(std::string text) {
  constexpr std::string_view kJsonPrefix = "invalid JSON: ";
  if (text.starts_with(kJsonPrefix)) text.erase(0, kJsonPrefix.size());
  if (const size_t at = text.rfind(" at offset "); at != std::string::npos) text.resize(at);
  return text == "unexpected EOF" ? "unexpected end of JSON input" : text;
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
    ApiResult<json::Value> value = parse_go_json(text);
    if (!value) {
      reason = without_offset(value.error().description);
      return false;
    }
    StructReader reader(false);
    reader.read(*value, "JSApiConsumerGetNextRequest", [&](JsonMember& in) {
      return take_pull_field(in, out, expires_ns, heartbeat_ns);
    });
    if (const ApiStatus status = reader.status(); !status) {
      reason = without_offset(status.error().description);
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
