#include "jetstream/ack_subject.h"

#include <charconv>

#include "base/sha256.h"

namespace brokkr::jetstream {
namespace {

constexpr size_t kTokensMax = 11;
constexpr size_t kShortTokens = 9;
constexpr size_t kHashBytes = 8;
constexpr std::string_view kDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

uint64_t read_ack_number(std::string_view text) {
  if (text.empty()) return UINT64_MAX;
  uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return UINT64_MAX;
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

char* put_number(char* out, uint64_t value) {
  *out++ = '.';
  return std::to_chars(out, out + 20, value).ptr;
}

}  // namespace

bool parse_ack_subject(std::string_view subject, AckSubject& out) {
  if (!subject.starts_with(kAckPrefix)) return false;
  // Tokens from the third on; ends[i] is where token i stops.
  size_t begins[kTokensMax + 1];
  size_t count = 2;
  begins[2] = kAckPrefix.size();
  for (size_t i = begins[2]; i < subject.size(); ++i) {
    if (subject[i] != '.') continue;
    if (++count == kTokensMax) break;
    begins[count] = i + 1;
  }
  const size_t tokens = count == kTokensMax ? kTokensMax : count + 1;
  size_t first = 2;
  if (tokens == kTokensMax) {
    first = 4;
  } else if (tokens != kShortTokens) {
    return false;
  }
  const auto token = [&](size_t index) {
    const size_t end = subject.find('.', begins[index]);
    return subject.substr(begins[index],
                          (end == std::string_view::npos ? subject.size() : end) - begins[index]);
  };
  out.domain_and_hash = {};
  if (first == 4) out.domain_and_hash = subject.substr(begins[2], begins[4] - 1 - begins[2]);
  out.consumer = subject.substr(begins[first], begins[first + 2] - 1 - begins[first]);
  out.deliveries = read_ack_number(token(first + 2));
  out.stream_seq = read_ack_number(token(first + 3));
  out.consumer_seq = read_ack_number(token(first + 4));
  return true;
}

char* write_ack_numbers(char* out, uint64_t deliveries, uint64_t stream_seq, uint64_t consumer_seq,
                        int64_t timestamp_ns, uint64_t pending) {
  out = put_number(out, deliveries);
  out = put_number(out, stream_seq);
  out = put_number(out, consumer_seq);
  *out++ = '.';
  out = std::to_chars(out, out + 20, timestamp_ns).ptr;
  return put_number(out, pending);
}

std::string name_hash(std::string_view name) {
  Sha256 sha;
  sha.update(name);
  std::string hash = sha.finish().substr(0, kHashBytes);
  for (char& c : hash) c = kDigits[static_cast<uint8_t>(c) % kDigits.size()];
  return hash;
}

}  // namespace brokkr::jetstream
