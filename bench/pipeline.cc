#include "pipeline.h"

#include <charconv>
#include <cstdlib>

namespace brokkr::bench {
namespace {

constexpr std::string_view kInbox = "_INBOX.pipeline.";

}  // namespace

Pipeline::Pipeline(const Options& options)
    : options_(options),
      connection_(Connection::open(options.port, 1024 * 1024)),
      poller_(options.spin_us),
      reply_(std::string(kInbox) + "00000000") {
  connection_->write("SUB " + std::string(kInbox) + "* 1\r\n");
  connection_->ping_pong();
  poller_.add(connection_->fd(), 0);
}

uint64_t Pipeline::index_of(const Message& answer, uint64_t now) {
  uint32_t id = 0;
  const std::string_view subject = answer.subject;
  if (!subject.starts_with(kInbox) || subject.size() != kInbox.size() + 8) fail("foreign answer");
  std::from_chars(subject.data() + kInbox.size(), subject.data() + subject.size(), id, 16);
  const uint64_t index = (sent_ & ~uint64_t{0xffffffff}) | id;
  if (index >= sent_ || started_[index % kSlots] == 0) fail("request %lu answered twice", index);
  samples_.push_back(static_cast<uint32_t>(now - started_[index % kSlots]));
  started_[index % kSlots] = 0;
  return index;
}

std::string Pipeline::request(std::string_view subject, std::string_view payload) {
  std::string text;
  run(
      1, 60, 1,
      [&](std::string& out, uint64_t, std::string_view reply) {
        append_pub(out, subject, reply, payload.size());
        out.append(payload).append("\r\n");
      },
      [&](uint64_t, const Message& answer) {
        if (!answer.headers.empty()) {
          fail("%.*s: %.*s", static_cast<int>(subject.size()), subject.data(),
               static_cast<int>(answer.headers.size()), answer.headers.data());
        }
        text = answer.payload;
      });
  samples_.clear();
  return text;
}

void append_pub(std::string& out, std::string_view subject, std::string_view reply, size_t size) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, size);
  out.append("PUB ").append(subject).append(" ");
  if (!reply.empty()) out.append(reply).append(" ");
  out.append(digits, static_cast<size_t>(end.ptr - digits)).append("\r\n");
}

}  // namespace brokkr::bench
