#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

// The subjects to which deliveries are acknowledged:
//
//   $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<timestamp>.<pending>
//   $JS.ACK.<domain>.<account hash>.<stream>.<consumer>.<the same five>[.<more>]
//
// The first form is the one sent; both are understood. Pure functions.
namespace brokkr::jetstream {

constexpr std::string_view kAckPrefix = "$JS.ACK.";

struct AckSubject {
  std::string_view domain_and_hash;  // "<domain>.<account hash>"; empty in the first form
  std::string_view consumer;         // "<stream>.<consumer>"
  uint64_t deliveries = 0;
  uint64_t stream_seq = 0;
  uint64_t consumer_seq = 0;
};

// False when it is neither form. Numbers that are none are 2^64 - 1.
bool parse_ack_subject(std::string_view subject, AckSubject& out);

// Room for the numbers of an acknowledgement subject, with their dots.
constexpr size_t kAckNumbersBytesMax = 5 * 21;
// Writes ".<deliveries>.<stream seq>.<consumer seq>.<timestamp>.<pending>" and returns its end.
char* write_ack_numbers(char* out, uint64_t deliveries, uint64_t stream_seq, uint64_t consumer_seq,
                        int64_t timestamp_ns, uint64_t pending);

// NATS's short hash of a name: eight characters of 0-9A-Za-z.
std::string name_hash(std::string_view name);

}  // namespace brokkr::jetstream
