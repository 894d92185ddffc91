#include "broker/service_replies.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/json.h"
#include "broker/account_routes.h"
#include "broker/client_info.h"
#include "broker/shard.h"
#include "crypto/digest.h"

namespace brokkr::broker {
namespace {

constexpr size_t kIdBytes = 15;
constexpr Duration kSweepEvery = std::chrono::seconds(1);
constexpr std::string_view kLatencyType = "io.nats.server.metric.v1.service_latency";

// Nobody can guess it: whoever knows it may answer.
std::string make_id() { return crypto::base32_encode(crypto::random_bytes(kIdBytes)); }

// Who answered, as JSON.
std::string responder_of(const Message& answer) {
  return answer.from != nullptr ? client_info(*answer.from) : std::string(answer.client);
}

// Whether a request is measured: by chance, or because its headers say that it is being traced.
bool is_sampled(const config::ServiceLatency& latency, const Message& request, Random& random) {
  if (latency.sampling > 0) return random.below(100) < static_cast<uint64_t>(latency.sampling);
  const std::string_view headers = request.payload.substr(0, request.header_size);
  const auto has = [&](std::string_view line) { return headers.find(line) != std::string_view::npos; };
  if (has("\r\nX-B3-Sampled: 1") || has("\r\nx-b3-sampled: 1")) return true;
  if (has("\r\nX-B3-TraceId:") && !has("\r\nX-B3-Sampled: 0")) return true;
  if (has("\r\nUber-Trace-Id:") || has("\r\nuber-trace-id:")) return true;
  const size_t at = headers.find("\r\ntraceparent:");
  if (at == std::string_view::npos) return false;
  const std::string_view line = headers.substr(at + 2, headers.find('\r', at + 2) - at - 2);
  return line.ends_with("-01");
}

}  // namespace

ServiceReplies::ServiceReplies(Shard& shard)
    : shard_(shard),
      prefix_("_R_." + std::to_string(shard.index()) + "."),
      timer_(shard.loop(), [this] { on_timer(); }) {}

ServiceReplies::~ServiceReplies() = default;

void ServiceReplies::listen(Account& exporter) {
  for (const auto& [account, listener] : listeners_) {
    if (account == &exporter) return;
  }
  listeners_.emplace_back(&exporter, shard_.subscribe(exporter, prefix_ + "*", {},
                                                      [this](const Message& m) { on_answer(m); }));
}

std::string ServiceReplies::open(const ServiceRoute& route, const Message& request,
                                 std::string_view requester) {
  if (pending_.size() >= kPendingMax) return {};
  std::string id = make_id();
  Pending& pending = pending_[id];
  pending.importer = &route.importer;
  pending.exporter = &route.exporter;
  pending.reply = request.reply;
  pending.type = route.rule.response_type;
  pending.threshold = route.rule.response_threshold;
  pending.deadline = shard_.loop().now() + pending.threshold;
  if (route.rule.latency && is_sampled(*route.rule.latency, request, shard_.random())) {
    pending.latency = route.rule.latency;
    pending.requester = requester;
    pending.start = shard_.loop().clock().wall_now();
    if (request.from != nullptr) pending.requester_round_trip = request.from->round_trip();
  }
  if (!timer_.is_armed()) timer_.start(kSweepEvery);
  return prefix_ + id;
}

void ServiceReplies::cancel(std::string_view reply) {
  const auto found = pending_.find(reply.substr(prefix_.size()));
  if (found == pending_.end()) return;
  report(found->second, 503, "Service Unavailable", {});
  pending_.erase(found);
}

void ServiceReplies::forget(const Account& importer) {
  std::erase_if(pending_, [&](const auto& entry) {
    return entry.second.importer == &importer || entry.second.exporter == &importer;
  });
}

void ServiceReplies::on_answer(const Message& answer) {
  if (!answer.routed_by().starts_with(prefix_)) return;
  const auto found = pending_.find(answer.routed_by().substr(prefix_.size()));
  if (found == pending_.end()) return;
  Pending& pending = found->second;
  Account& importer = *pending.importer;
  const std::string reply = pending.reply;
  const bool is_over =
      pending.type == config::ResponseType::Singleton || answer.payload.empty();
  if (is_over) {
    const std::string responder = pending.latency ? responder_of(answer) : std::string();
    const Duration away = answer.from != nullptr ? answer.from->round_trip() : Duration(0);
    report(pending, 200, {}, {responder, away});
    pending_.erase(found);
  } else {
    pending.deadline = shard_.loop().now() + pending.threshold;
  }
  shard_.pass_on(importer, reply, answer);
}

void ServiceReplies::on_timer() {
  const MonotonicTime now = shard_.loop().now();
  std::vector<Pending> late;
  std::erase_if(pending_, [&](const auto& entry) {
    if (entry.second.deadline > now) return false;
    if (entry.second.latency) late.push_back(entry.second);
    return true;
  });
  for (const Pending& pending : late) report(pending, 504, "Service Timeout", {});
  if (!pending_.empty()) timer_.start(kSweepEvery);
}

void ServiceReplies::report(const Pending& pending, int status, std::string_view description,
                            Responder responder) {
  if (!pending.latency || !pending.exporter->has_interest(pending.latency->subject)) return;
  const WallTime now = shard_.loop().clock().wall_now();
  const int64_t total = std::max<int64_t>(Duration(now - pending.start).count(), 0);
  const int64_t requester = pending.requester_round_trip.count();
  const int64_t answering = responder.round_trip.count();
  json::Writer out;
  out.begin_object();
  out.field("type", kLatencyType).field("id", make_id());
  out.field("timestamp", format_rfc3339(now)).field("status", int64_t{status});
  if (!description.empty()) out.field("description", description);
  out.key("requestor").raw(pending.requester.empty() ? "{}" : pending.requester);
  if (!responder.client.empty()) out.key("responder").raw(responder.client);
  out.field("start", format_rfc3339(pending.start - requester * Duration(1)));
  out.field("service", std::max<int64_t>(total - answering, 0)).field("system", int64_t{0});
  out.field("total", total + requester);
  out.end_object();
  shard_.publish(*pending.exporter, pending.latency->subject, {}, {}, out.take());
}

}  // namespace brokkr::broker
