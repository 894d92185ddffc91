#include "jetstream/outbox.h"

#include <cstring>

#include "protocol/encode.h"

namespace brokkr::jetstream {
namespace {

constexpr std::string_view kCrlf = "\r\n";
// Text that was sent stays in front until there is this much of it.
constexpr size_t kDeadTextMax = 64 << 10;
constexpr size_t kKeptTextMax = 1 << 20;

}  // namespace

void Outbox::put_ack(uint64_t after, std::string_view reply, uint64_t seq) {
  auto& entries = is_releasing_ ? late_entries_ : entries_;
  auto& text = is_releasing_ ? late_text_ : text_;
  entries.push_back({after, seq, static_cast<uint32_t>(reply.size()), 0, 0});
  text.append(reply);
}

void Outbox::put(uint64_t after, std::string_view subject, std::string_view headers,
                 std::string_view body, bool is_answer) {
  auto& entries = is_releasing_ ? late_entries_ : entries_;
  auto& text = is_releasing_ ? late_text_ : text_;
  entries.push_back({after, 0, static_cast<uint32_t>(subject.size()),
                     static_cast<uint32_t>(headers.size()), static_cast<uint32_t>(body.size()),
                     is_answer});
  text.append(subject).append(headers).append(body).append(kCrlf);
}

void Outbox::release(uint64_t visible, broker::Shard& shard, broker::Account& account) {
  if (is_releasing_) return;
  is_releasing_ = true;
  while (first_ < entries_.size() && entries_[first_].after <= visible) {
    const char* const text = text_.data() + text_first_;
    publish(take_first(), text, shard, account);
  }
  is_releasing_ = false;
  drop_released();
}

// The text stays where it is until the released ones are dropped.
Outbox::Entry Outbox::take_first() {
  const Entry entry = entries_[first_++];
  const size_t payload = entry.ack_seq != 0 ? 0 : entry.header_size + entry.body_size + kCrlf.size();
  text_first_ += entry.subject_size + payload;
  return entry;
}

void Outbox::fail(std::string_view headers, std::string_view body, broker::Shard& shard,
                  broker::Account& account) {
  if (is_releasing_) return;
  is_releasing_ = true;
  while (first_ < entries_.size()) {
    const char* const text = text_.data() + text_first_;
    const Entry entry = take_first();
    if (entry.is_answer) shard.publish(account, {text, entry.subject_size}, {}, headers, body);
  }
  is_releasing_ = false;
  drop_released();
}

void Outbox::publish(const Entry& entry, const char* text, broker::Shard& shard,
                     broker::Account& account) {
  broker::Message message;
  message.subject = {text, entry.subject_size};
  char ack[512];
  std::string long_ack;
  if (entry.ack_seq == 0) {
    message.payload = {text + entry.subject_size, size_t{entry.header_size} + entry.body_size};
    message.header_size = entry.header_size;
  } else {
    char* out = ack;
    const size_t room = ack_prefix_.size() + protocol::kUintSizeMax + 3;
    if (room > sizeof ack) {
      long_ack.resize(room);
      out = long_ack.data();
    }
    char* const begin = out;
    out = protocol::write_text(out, ack_prefix_);
    out = protocol::write_uint(out, entry.ack_seq);
    std::memcpy(out, "}\r\n", 3);
    message.payload = {begin, static_cast<size_t>(out + 1 - begin)};
  }
  const protocol::SizeText size_text(message.payload.size());
  message.size_text = size_text.view();
  shard.publish(account, nullptr, message);
}

void Outbox::drop_released() {
  if (first_ == entries_.size()) {
    entries_.clear();
    text_.clear();
    first_ = text_first_ = 0;
    if (text_.capacity() > kKeptTextMax) text_.shrink_to_fit();
  } else if (text_first_ > kDeadTextMax && text_first_ > text_.size() / 2) {
    text_.erase(0, text_first_);
    entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = text_first_ = 0;
  }
  if (late_entries_.empty()) return;
  entries_.insert(entries_.end(), late_entries_.begin(), late_entries_.end());
  text_.append(late_text_);
  late_entries_.clear();
  late_text_.clear();
}

void Outbox::clear() {
  if (is_releasing_) {
    late_entries_.clear();
    late_text_.clear();
    return;
  }
  entries_.clear();
  text_.clear();
  first_ = text_first_ = 0;
}

}  // namespace brokkr::jetstream
