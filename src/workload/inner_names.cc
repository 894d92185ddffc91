#include "workload/inner_names.h"

#include <sys/socket.h>

#include <array>

namespace brokkr::workload {
namespace {

constexpr size_t kHeaderBytes = 12;
constexpr size_t kQueryBytesMax = 512;
constexpr int kQueriesPerTurn = 32;
constexpr uint16_t kTypeA = 1;
constexpr uint16_t kClassInternet = 1;
constexpr uint8_t kNoSuchName = 3;
constexpr uint8_t kTtlSeconds = 60;

uint16_t read_two(std::string_view bytes, size_t at) {
  return static_cast<uint16_t>(static_cast<unsigned char>(bytes[at]) << 8 |
                               static_cast<unsigned char>(bytes[at + 1]));
}

struct NameQuestion {
  std::string name;  // lower case
  uint16_t type = 0;
  size_t end = 0;    // behind it
};

std::optional<NameQuestion> read_question(std::string_view query) {
  NameQuestion question;
  size_t at = kHeaderBytes;
  for (;;) {
    if (at >= query.size()) return {};
    const size_t size = static_cast<unsigned char>(query[at++]);
    if (size == 0) break;
    // A question has no name before it to point to.
    if (size > 63 || at + size > query.size()) return {};
    if (!question.name.empty()) question.name += '.';
    for (const char c : query.substr(at, size)) {
      question.name += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    }
    at += size;
  }
  if (at + 4 > query.size() || read_two(query, at + 2) != kClassInternet) return {};
  question.type = read_two(query, at);
  question.end = at + 4;
  return question;
}

}  // namespace

InnerNames::InnerNames(io::Loop& loop, std::function<bool(std::string_view)> may_resolve,
                       std::map<std::string, std::string> hosts)
    : loop_(loop), may_resolve_(std::move(may_resolve)), hosts_(std::move(hosts)) {}

InnerNames::~InnerNames() = default;

void InnerNames::attach(int fd) {
  socket_ = std::make_unique<sandbox::WatchedSocket>(loop_, fd, [this](uint32_t) { on_readable(); });
  socket_->resume();
}

void InnerNames::on_readable() {
  std::array<char, kQueryBytesMax> query;
  for (int i = 0; i < kQueriesPerTurn; ++i) {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    const ssize_t n = recvfrom(socket_->fd(), query.data(), query.size(), 0,
                               reinterpret_cast<sockaddr*>(&from), &size);
    if (n < 0) return;
    const std::string reply = answer(std::string_view(query.data(), static_cast<size_t>(n)));
    if (reply.empty()) continue;
    // Whoever does not get it asks again.
    (void)sendto(socket_->fd(), reply.data(), reply.size(), MSG_DONTWAIT,
                 reinterpret_cast<const sockaddr*>(&from), size);
  }
}

std::optional<NetAddress> InnerNames::address_of(const std::string& name) {
  if (const auto host = hosts_.find(name); host != hosts_.end()) {
    const auto address = NetAddress::parse(host->second);
    return address ? std::optional(*address) : std::nullopt;
  }
  if (!may_resolve_(name)) return {};
  auto [known, is_new] = numbers_.try_emplace(name, 0);
  if (is_new) {
    const uint32_t number = next_++ % kNamesMax;
    if (const auto old = names_.find(number); old != names_.end()) numbers_.erase(old->second);
    known->second = number;
    names_[number] = name;
  }
  const uint32_t host = known->second + 1;
  return NetAddress{std::string{static_cast<char>(198), 18, static_cast<char>(host >> 8),
                                static_cast<char>(host & 0xff)}};
}

std::optional<std::string> InnerNames::find(const NetAddress& address) const {
  if (address.bytes.size() != 4 || !address.bytes.starts_with("\xc6\x12")) return {};
  const auto found = names_.find(read_two(address.bytes, 2) - 1U);
  if (found == names_.end()) return {};
  return found->second;
}

std::string InnerNames::answer(std::string_view query) {
  // One question, a plain one, that is no answer itself.
  const bool is_query = query.size() > kHeaderBytes && (query[2] & 0xf8) == 0 && read_two(query, 4) == 1;
  if (!is_query) return {};
  const auto question = read_question(query);
  if (!question) return {};
  const auto address = address_of(question->name);
  const bool is_given = address && question->type == kTypeA;
  std::string reply(query.substr(0, question->end));
  reply[2] = static_cast<char>(0x80 | (query[2] & 0x01));
  reply[3] = static_cast<char>(0x80 | (address ? 0 : kNoSuchName));
  // One question; an answer or none; nothing else.
  constexpr size_t kCountsAt = 4;
  reply.replace(kCountsAt, 8, std::string{0, 1, 0, is_given ? '\1' : '\0', 0, 0, 0, 0});
  if (!is_given) return reply;
  reply += std::string{'\xc0', kHeaderBytes, 0, kTypeA, 0, kClassInternet, 0, 0, 0, kTtlSeconds, 0, 4};
  reply += address->bytes;
  return reply;
}

}  // namespace brokkr::workload
