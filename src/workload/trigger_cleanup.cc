#include "workload/trigger_cleanup.h"

#include <algorithm>
#include <memory>

#include "workload/access.h"
#include "workload/trigger_plan.h"

namespace brokkr::workload {
namespace {

struct Removal {
  Removal(client::JetStream with, std::vector<TriggerConsumer> all, client::DoneHandler then)
      : js(std::move(with)), left(std::move(all)), done(std::move(then)) {}
  const client::JetStream js;
  std::vector<TriggerConsumer> left;
  const client::DoneHandler done;
};

bool is_nothing_there(const client::ApiError& error) {
  return error.err_code == client::kConsumerNotFoundError || error.err_code == client::kStreamNotFoundError;
}

void remove_next(const std::shared_ptr<Removal>& removal) {
  if (removal->left.empty()) return removal->done({});
  const TriggerConsumer consumer = std::move(removal->left.back());
  removal->left.pop_back();
  removal->js.consumer_info(consumer.stream, consumer.name, [removal, consumer](auto info) {
    if (!info && !is_nothing_there(info.error())) return removal->done(info.error());
    if (!info || info->config.description != consumer.description) return remove_next(removal);
    removal->js.delete_consumer(consumer.stream, consumer.name, [removal](auto removed) {
      if (!removed && !is_nothing_there(removed.error())) return removal->done(removed.error());
      remove_next(removal);
    });
  });
}

// Names the trigger's bucket may have had at the server: the namespace's record may have changed since.
Words buckets_at_server(const Trigger& trigger, const Access& access, std::string_view ns) {
  using Kind = Trigger::Kind;
  if (trigger.kind != Kind::KeyValue && trigger.kind != Kind::Object) return {""};
  const std::string now = trigger.kind == Kind::KeyValue ? access.key_value_name(trigger.bucket)
                                                         : access.object_store_name(trigger.bucket);
  const std::string prefixed = std::string(ns) + "__" + trigger.bucket;
  Words names = {now};
  for (const std::string& other : {trigger.bucket, prefixed}) {
    if (other != now) names.push_back(other);
  }
  return names;
}

}  // namespace

std::vector<TriggerConsumer> trigger_consumers(const DesiredWorkload& workload,
                                               const std::vector<NamespaceRecord>& namespaces) {
  using Kind = Trigger::Kind;
  std::vector<TriggerConsumer> consumers;
  const auto access = Access::make({workload.ns, workload.name}, {}, namespaces);
  const auto add = [&](const RunRequest& run) {
    TriggerSource::Facts facts;
    facts.ns = workload.ns;
    facts.name = workload.name;
    for (Trigger trigger : run.triggers) {
      if (trigger.kind == Kind::Subject) continue;
      const bool is_durable = trigger.kind != Kind::Http && !trigger.is_kept && check_trigger(trigger);
      const Words buckets = is_durable ? buckets_at_server(trigger, *access, workload.ns) : Words{};
      for (const std::string& bucket : buckets) {
        trigger.bucket = bucket;
        const TriggerPlan plan = plan_trigger(facts, trigger);
        TriggerConsumer one{plan.stream, plan.consumer, plan.description};
        if (std::find(consumers.begin(), consumers.end(), one) == consumers.end()) {
          consumers.push_back(std::move(one));
        }
      }
      ++facts.index;
    }
  };
  add(workload.current.run);
  for (const WorkloadRevision& revision : workload.previous) add(revision.run);
  return consumers;
}

void remove_trigger_consumers(const client::JetStream& js, std::vector<TriggerConsumer> consumers,
                              client::DoneHandler done) {
  remove_next(std::make_shared<Removal>(js, std::move(consumers), std::move(done)));
}

}  // namespace brokkr::workload
