#include "client/delivery.h"

#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace brokkr::client {

std::optional<Delivery> parse_delivery(std::string_view reply) {
  // $JS.ACK.<stream>.<consumer>.<count>.<stream seq>.<consumer seq>.<time>.<pending>, or with
  // <domain>.<account hash> in front and possibly more behind.
  if (!reply.starts_with("$JS.ACK.")) return {};
  const auto tokens = split(reply, '.');
  if (tokens.size() != 9 && tokens.size() < 11) return {};
  const size_t base = tokens.size() == 9 ? 2 : 4;
  Delivery out;
  if (base == 4 && tokens[2] != "_") out.domain = tokens[2];
  out.stream = tokens[base];
  out.consumer = tokens[base + 1];
  uint64_t numbers[5];
  for (size_t i = 0; i < 5; ++i) {
    const auto number = parse_uint(tokens[base + 2 + i]);
    if (!number) return {};
    numbers[i] = *number;
  }
  out.delivered_count = numbers[0];
  out.stream_seq = numbers[1];
  out.consumer_seq = numbers[2];
  out.time = WallTime(Duration(static_cast<int64_t>(numbers[3])));
  out.num_pending = numbers[4];
  return out;
}

Status ack(Connection& connection, std::string_view reply) {
  return connection.publish(reply, "+ACK");
}

Status nak(Connection& connection, std::string_view reply, Duration delay) {
  if (delay <= Duration(0)) return connection.publish(reply, "-NAK");
  return connection.publish(reply, "-NAK {\"delay\":" + std::to_string(delay.count()) + "}");
}

Status ack_in_progress(Connection& connection, std::string_view reply) {
  return connection.publish(reply, "+WPI");
}

Status ack_term(Connection& connection, std::string_view reply, std::string_view reason) {
  if (reason.empty()) return connection.publish(reply, "+TERM");
  return connection.publish(reply, "+TERM " + std::string(reason));
}

void ack_and_wait(Connection& connection, std::string_view reply, Duration timeout,
                  DoneHandler done) {
  auto shared = std::make_shared<DoneHandler>(std::move(done));
  auto sent =
      connection.request(reply, "+ACK", timeout, [shared](const Result<Message>& answer) {
        (*shared)(answer ? Status() : Status(answer.error()));
      });
  if (!sent) (*shared)(sent.error());
}

}  // namespace brokkr::client
