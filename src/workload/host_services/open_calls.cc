#include "workload/host_services/open_calls.h"

#include <algorithm>
#include <vector>

namespace brokkr::workload {
namespace {

constexpr int kResourcesExceeded[] = {10002, 10023, 10026, 10028, 10047};

runtime::HostReply out_of_time() { return refusal(408, "timed out"); }

}  // namespace

runtime::HostReply refusal(uint16_t code, std::string text) {
  runtime::HostReply reply;
  reply.code = code;
  reply.error = std::move(text);
  return reply;
}

runtime::HostReply refusal_of(const Error& error) {
  switch (error.code) {
    case Errc::NoResponders: return refusal(503, "no responders");
    case Errc::TimedOut: return out_of_time();
    case Errc::InvalidSubject:
    case Errc::InvalidArgument:
    case Errc::Syntax: return refusal(400, error.text);
    case Errc::PermissionDenied: return refusal(403, error.text);
    case Errc::NotFound: return refusal(404, error.text);
    case Errc::AlreadyExists: return refusal(409, error.text);
    case Errc::LimitExceeded: return refusal(413, error.text);
    case Errc::Corrupt: return refusal(502, error.text);
    case Errc::Closed:
    case Errc::Unavailable: return refusal(503, error.text);
    case Errc::OutOfSpace: return refusal(507, error.text);
    default: return refusal(500, error.text);
  }
}

runtime::HostReply refusal_of(const client::ApiError& error) {
  if (error.err_code == client::kWrongLastSequenceError ||
      error.err_code == client::kWrongLastSequenceConstantError) {
    return refusal(409, error.text);
  }
  if (std::find(std::begin(kResourcesExceeded), std::end(kResourcesExceeded), error.err_code) !=
      std::end(kResourcesExceeded)) {
    return refusal(507, error.text);
  }
  if (error.code == Errc::NoResponders ||
      error.err_code == client::kJetStreamNotEnabledForAccountError ||
      error.err_code == client::kJetStreamNotEnabledError) {
    return refusal(503, "no JetStream at the server");
  }
  if (error.text.find("maximum bytes exceeded") != std::string::npos) {
    return refusal(507, "the bucket is full");
  }
  const bool is_known = error.code != Errc::System || error.http_code < 400 || error.http_code > 599;
  return is_known ? refusal_of(static_cast<const Error&>(error))
                  : refusal(static_cast<uint16_t>(error.http_code), error.text);
}

void append_record(std::string& out, std::string_view bytes) {
  const auto size = static_cast<uint32_t>(bytes.size());
  out.append(reinterpret_cast<const char*>(&size), sizeof size);
  out.append(bytes);
}

void Answer::send(const runtime::HostReply& reply) const {
  if (const auto calls = calls_.lock()) calls->finish(number_, reply);
}

bool Answer::is_open() const {
  const auto calls = calls_.lock();
  return calls != nullptr && calls->calls_.contains(number_);
}

void Answer::on_cancel(Callback<void()> cancel) const {
  const auto calls = calls_.lock();
  if (calls == nullptr) return;
  if (const auto found = calls->calls_.find(number_); found != calls->calls_.end()) {
    found->second.cancel = std::move(cancel);
  }
}

OpenCalls::OpenCalls(io::Loop& loop) : loop_(loop), sweep_(loop, [this] { sweep(); }) {}

OpenCalls::~OpenCalls() {
  for (auto& [number, call] : calls_) {
    if (call.cancel) call.cancel();
  }
}

Answer OpenCalls::open(HostCaller& caller, uint64_t id, size_t bytes, Duration timeout) {
  const uint64_t number = next_++;
  if (calls_.size() >= kCallsMax || bytes_ + bytes > kBytesMax) {
    caller.reply_to_host_call(id, refusal(503, "too many host calls under way"));
    return {weak_from_this(), number};
  }
  const MonotonicTime deadline = loop_.clock().now() + timeout;
  calls_.emplace(number, Call{&caller, id, bytes, deadline, {}});
  bytes_ += bytes;
  if (!sweep_.is_armed() || deadline < sweep_.deadline()) sweep_.start_at(deadline);
  return {weak_from_this(), number};
}

void OpenCalls::finish(uint64_t number, const runtime::HostReply& reply) {
  const auto found = calls_.find(number);
  if (found == calls_.end()) return;
  const Call call = std::move(found->second);
  bytes_ -= call.bytes;
  calls_.erase(found);
  if (call.caller->pending_bytes() + reply.payload.size() + reply.more.size() > kUnreadBytesMax) {
    return call.caller->reply_to_host_call(
        call.id, refusal(503, "the function does not take the answers to its host calls"));
  }
  call.caller->reply_to_host_call(call.id, reply);
}

void OpenCalls::forget(const HostCaller& caller) {
  std::vector<Callback<void()>> cancelled;
  for (auto at = calls_.begin(); at != calls_.end();) {
    if (at->second.caller != &caller) {
      ++at;
      continue;
    }
    bytes_ -= at->second.bytes;
    if (at->second.cancel) cancelled.push_back(std::move(at->second.cancel));
    at = calls_.erase(at);
  }
  for (const auto& cancel : cancelled) cancel();
}

void OpenCalls::sweep() {
  const MonotonicTime now = loop_.clock().now();
  MonotonicTime next = MonotonicTime::max();
  std::vector<uint64_t> late;
  for (const auto& [number, call] : calls_) {
    if (call.deadline <= now) late.push_back(number);
    else next = std::min(next, call.deadline);
  }
  for (const uint64_t number : late) {
    const auto found = calls_.find(number);
    if (found == calls_.end()) continue;
    const Callback<void()> cancel = std::move(found->second.cancel);
    finish(number, out_of_time());
    if (cancel) cancel();
  }
  if (next != MonotonicTime::max() && (!sweep_.is_armed() || next < sweep_.deadline())) {
    sweep_.start_at(next);
  }
}

}  // namespace brokkr::workload
