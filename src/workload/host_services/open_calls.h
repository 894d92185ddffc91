#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/callback.h"
#include "base/clock.h"
#include "client/api_error.h"
#include "io/loop.h"
#include "runtime/host.h"
#include "workload/host_services/host_caller.h"

namespace brokkr::workload {

// What a host call that failed is answered with. Codes are those of HTTP: 400 what was asked makes no
// sense, 403 not allowed, 404 not there, 408 timed out, 409 conflict, 413 too large, 429 too many,
// 501 unknown, 502 the other end failed, 503 not now, 507 no space.
runtime::HostReply refusal(uint16_t code, std::string text);
runtime::HostReply refusal_of(const Error& error);
runtime::HostReply refusal_of(const client::ApiError& error);

// A reply's list of byte strings, each behind its length (u32 little endian).
void append_record(std::string& out, std::string_view bytes);

class OpenCalls;

// The way to answer one host call, once: what comes later, or after the caller or everything has
// gone, has no effect. A small value. Loop-confined.
class Answer {
 public:
  Answer(std::weak_ptr<OpenCalls> calls, uint64_t number)
      : calls_(std::move(calls)), number_(number) {}
  void send(const runtime::HostReply& reply) const;
  void fail(uint16_t code, std::string text) const { send(refusal(code, std::move(text))); }
  template <typename E>
  void fail(const E& error) const {
    send(refusal_of(error));
  }
  bool is_open() const;
  // Called when nobody waits for the answer any more though none was given.
  void on_cancel(Callback<void()> cancel) const;

 private:
  std::weak_ptr<OpenCalls> calls_;
  uint64_t number_;
};

// The host calls of one function that wait for their answer: bounded in number and bytes, each
// answered within its time. Loop-confined.
class OpenCalls : public std::enable_shared_from_this<OpenCalls> {
 public:
  static constexpr size_t kCallsMax = 1024;
  static constexpr size_t kBytesMax = 32U << 20;
  // Answers that a caller has not taken yet.
  static constexpr size_t kUnreadBytesMax = 64U << 20;

  explicit OpenCalls(io::Loop& loop);
  ~OpenCalls();

  // Takes the call in; what is returned answers it. A call beyond the limits is answered at once, and
  // the Answer is not open.
  Answer open(HostCaller& caller, uint64_t id, size_t bytes, Duration timeout);
  // Drops what the caller waits for.
  void forget(const HostCaller& caller);
  size_t size() const { return calls_.size(); }

 private:
  friend class Answer;
  struct Call {
    HostCaller* caller;
    uint64_t id;
    size_t bytes;
    MonotonicTime deadline;
    Callback<void()> cancel;
  };
  void finish(uint64_t number, const runtime::HostReply& reply);
  void sweep();

  io::Loop& loop_;
  std::unordered_map<uint64_t, Call> calls_;
  size_t bytes_ = 0;
  uint64_t next_ = 1;
  io::Timer sweep_;
};

}  // namespace brokkr::workload
