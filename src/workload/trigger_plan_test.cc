#include "workload/trigger_plan.h"

#include <gtest/gtest.h>

#include "client/headers.h"

namespace brokkr::workload {
namespace {

using namespace std::chrono_literals;
using Kind = Trigger::Kind;

Trigger stream_trigger() {
  Trigger trigger;
  trigger.kind = Kind::Stream;
  trigger.stream = "ORDERS";
  trigger.subject = "orders.>";
  return trigger;
}

TriggerSource::Facts some_facts() { return {"acme", "bill", 2, 0, 5s, 64}; }

TEST(TriggerPlan, ADurableConsumerIsSharedByName) {
  const TriggerPlan plan = plan_trigger(some_facts(), stream_trigger());
  EXPECT_EQ(plan.consumer, "nex-acme-bill-2");
  EXPECT_EQ(plan.stream, "ORDERS");
  EXPECT_EQ(plan.dead_letter, "NEX_DLQ_acme");
  EXPECT_EQ(plan.dead_letter_subject, "$NEX.DLQ.acme.NEX_DLQ_acme.bill.2.ORDERS");
  EXPECT_EQ(plan.max_deliver, 5U);
  const auto config = consumer_of(plan, stream_trigger(), nullptr, false);
  EXPECT_EQ(config.durable_name, "nex-acme-bill-2");
  EXPECT_EQ(config.filter_subject, "orders.>");
  EXPECT_EQ(config.max_deliver, -1);
  EXPECT_EQ(config.max_ack_pending, 1024);
}

TEST(TriggerPlan, PausesFollowThePlanAndTheLastRepeats) {
  Trigger trigger = stream_trigger();
  EXPECT_EQ(pause_after(plan_trigger(some_facts(), trigger), 1), 1s);
  EXPECT_EQ(pause_after(plan_trigger(some_facts(), trigger), 99), 60s);
  trigger.backoff_ns = {Duration(100ms).count(), Duration(2s).count()};
  const TriggerPlan plan = plan_trigger(some_facts(), trigger);
  EXPECT_EQ(pause_after(plan, 0), 100ms);
  EXPECT_EQ(pause_after(plan, 1), 100ms);
  EXPECT_EQ(pause_after(plan, 2), 2s);
  EXPECT_EQ(pause_after(plan, 3), 2s);
}

TEST(TriggerPlan, StartsWhereItIsTold) {
  Trigger trigger = stream_trigger();
  const auto start = [&](const std::string& text, bool is_work_queue = false) {
    trigger.start = text;
    return consumer_of(plan_trigger(some_facts(), trigger), trigger, nullptr, is_work_queue);
  };
  EXPECT_EQ(start("").deliver_policy, client::DeliverPolicy::New);
  EXPECT_EQ(start("", true).deliver_policy, client::DeliverPolicy::All);
  EXPECT_EQ(start("all").deliver_policy, client::DeliverPolicy::All);
  EXPECT_EQ(start("seq:17").opt_start_seq, 17U);
  EXPECT_EQ(start("2026-11-23T08:39:28Z").deliver_policy, client::DeliverPolicy::ByStartTime);
  EXPECT_TRUE(start("2026-11-23T08:39:28Z").opt_start_time.has_value());
  trigger.start = "new";
  client::ConsumerConfig existing;
  existing.deliver_policy = client::DeliverPolicy::ByStartSequence;
  existing.opt_start_seq = 5;
  const auto kept = consumer_of(plan_trigger(some_facts(), trigger), trigger, &existing, false);
  EXPECT_EQ(kept.deliver_policy, client::DeliverPolicy::ByStartSequence);
  EXPECT_EQ(kept.opt_start_seq, 5U);
}

TEST(TriggerPlan, RefusesWhatCannotBe) {
  const auto refused = [](auto change) {
    Trigger trigger = stream_trigger();
    change(trigger);
    const Status status = check_trigger(trigger);
    return status ? std::string() : status.error().text;
  };
  EXPECT_EQ(refused([](Trigger&) {}), "");
  EXPECT_NE(refused([](Trigger& t) { t.stream = "a.b"; }), "");
  EXPECT_NE(refused([](Trigger& t) { t.stream = ""; }), "");
  EXPECT_NE(refused([](Trigger& t) { t.subject = "a..b"; }), "");
  EXPECT_NE(refused([](Trigger& t) { t.start = "seq:0"; }), "");
  EXPECT_NE(refused([](Trigger& t) { t.start = "yesterday"; }), "");
  EXPECT_NE(refused([](Trigger& t) { t.backoff_ns = {-1}; }), "");
  EXPECT_NE(refused([](Trigger& t) { t.ack_wait_ns = 1; }), "");
  EXPECT_NE(refused([](Trigger& t) { t.dead_letter = "a.b"; }), "");
  EXPECT_NE(refused([](Trigger& t) { t.kind = Kind::Schedule; t.schedule = "often"; }), "");
  EXPECT_NE(refused([](Trigger& t) { t.kind = Kind::KeyValue; t.bucket = "a b"; }), "");
}

constexpr std::string_view kReply = "$JS.ACK.ORDERS.nex-acme-bill-2.3.41.7.1700000000000000000.9";

TEST(TriggerPlan, AFunctionSeesKeysAndOperations) {
  Trigger trigger;
  trigger.kind = Kind::KeyValue;
  trigger.bucket = "CONFIG";
  const auto delivery = client::parse_delivery(kReply);
  ASSERT_TRUE(delivery);
  auto seen = read_message(trigger, {"$KV.CONFIG.a.b", kReply, {}, "v", {}}, *delivery);
  EXPECT_EQ(seen.subject, "a.b");
  auto headers = client::Headers::parse(seen.headers);
  ASSERT_TRUE(headers);
  EXPECT_EQ(headers->get("KV-Operation"), "PUT");
  EXPECT_EQ(headers->get("Nats-Sequence"), "41");
  EXPECT_EQ(headers->get("Nats-Brokkr-Deliveries"), "3");
  seen = read_message(trigger, {"$KV.CONFIG.a", kReply, "NATS/1.0\r\nKV-Operation: DEL\r\n\r\n", "", {}},
                      *delivery);
  EXPECT_EQ(client::Headers::parse(seen.headers)->get("KV-Operation"), "DEL");
  seen = read_message(trigger, {"$KV.CONFIG.a", kReply, "NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\n\r\n", "", {}},
                      *delivery);
  EXPECT_EQ(client::Headers::parse(seen.headers)->get("KV-Operation"), "PURGE");
  trigger.kind = Kind::Object;
  seen = read_message(trigger, {"$O.CONFIG.M.eA==", kReply, {}, R"({"name":"x y","deleted":true})", {}},
                      *delivery);
  EXPECT_EQ(seen.subject, "x y");
  EXPECT_EQ(client::Headers::parse(seen.headers)->get("Object-Operation"), "DEL");
}

TEST(TriggerPlan, ADeadLetterKeepsHeadersButNoCommands) {
  client::HeaderWriter own;
  own.add("Nats-Msg-Id", "m1");
  own.add("Nats-Rollup", "all");
  own.add("Nats-Expected-Stream", "ORDERS");
  own.add("Nats-Brokkr-Hops", "2");
  own.add("Nats-Brokkr-Error", "of an earlier time");
  own.add("Customer", "7");
  const std::string block = own.take();
  const auto delivery = client::parse_delivery(kReply);
  const std::string written = dead_letter_headers({"orders.new", kReply, block, "x", {}}, *delivery,
                                                  {"acme/bill", "TypeError: x\nat y", 500, {}});
  const auto headers = client::Headers::parse(written);
  ASSERT_TRUE(headers);
  EXPECT_FALSE(headers->find("Nats-Msg-Id") || headers->find("Nats-Rollup") ||
               headers->find("Nats-Expected-Stream"));
  EXPECT_EQ(headers->get("Customer"), "7");
  EXPECT_EQ(headers->get("Nats-Brokkr-Hops"), "2");
  EXPECT_EQ(headers->get("Nats-Brokkr-Msg-Id"), "m1");
  EXPECT_EQ(headers->get("Nats-Brokkr-Subject"), "orders.new");
  EXPECT_EQ(headers->get("Nats-Brokkr-Stream"), "ORDERS");
  EXPECT_EQ(headers->get("Nats-Brokkr-Sequence"), "41");
  EXPECT_EQ(headers->find_all("Nats-Brokkr-Error").size(), 1U);
  EXPECT_EQ(headers->get("Nats-Brokkr-Error"), "TypeError: x");
}

}  // namespace
}  // namespace brokkr::workload
