#include "broker/monitor/subsz.h"

#include <algorithm>

#include "subject/subject.h"

namespace brokkr::broker {

void InterestSummary::add(const subject::InterestTree::Stats& stats, uint64_t own) {
  subscriptions += own;
  cached += stats.cache_entries;
  inserts += stats.inserts;
  removes += stats.removes;
  matches += stats.matches;
  cache_hits += stats.cache_hits;
  fanout_max = std::max<uint64_t>(fanout_max, stats.fanout_max);
  fanout_sum += stats.fanout_average * static_cast<double>(stats.cache_entries);
}

void InterestSummary::add(const InterestSummary& other) {
  subscriptions += other.subscriptions;
  cached += other.cached;
  inserts += other.inserts;
  removes += other.removes;
  matches += other.matches;
  cache_hits += other.cache_hits;
  fanout_max = std::max(fanout_max, other.fanout_max);
  fanout_sum += other.fanout_sum;
}

double InterestSummary::cache_hit_rate() const {
  return matches == 0 ? 0 : static_cast<double>(cache_hits) / static_cast<double>(matches);
}

double InterestSummary::fanout_average() const {
  return cached == 0 ? 0 : fanout_sum / static_cast<double>(cached);
}

void write_interest_summary(json::Writer& out, const InterestSummary& summary) {
  out.field("num_subscriptions", summary.subscriptions);
  out.field("num_cache", summary.cached);
  out.field("num_inserts", summary.inserts);
  out.field("num_removes", summary.removes);
  out.field("num_matches", summary.matches);
  out.field("cache_hit_rate", summary.cache_hit_rate());
  out.field("max_fanout", summary.fanout_max);
  out.field("avg_fanout", summary.fanout_average());
}

SubszOptions parse_subsz_options(QueryReader& query) {
  SubszOptions options;
  options.subscriptions = query.boolean("subs");
  options.offset = static_cast<uint64_t>(std::max<int64_t>(0, query.integer("offset")));
  const int64_t limit = query.integer("limit");
  if (limit > 0) options.limit = static_cast<uint64_t>(limit);
  options.test = query.text("test");
  options.account = query.text("acc");
  if (!options.test.empty() && !subject::is_valid_literal(options.test)) {
    query.fail("invalid test subject, must be valid publish subject: " + options.test);
  }
  return options;
}

std::string render_subsz(const Subsz& subsz, const SubszOptions& options) {
  json::Writer out({.indent = 2});
  out.begin_object();
  out.field("server_id", subsz.server_id);
  out.field("now", format_rfc3339(subsz.now));
  write_interest_summary(out, subsz.summary);
  out.field("total", subsz.total);
  out.field("offset", options.offset);
  out.field("limit", options.limit);
  if (!subsz.subscriptions.empty()) {
    out.key("subscriptions_list").begin_array();
    for (const SubscriptionReport& each : subsz.subscriptions) {
      out.begin_object();
      out.field("account", each.account).field("account_tag", each.account);
      out.field("subject", each.subject);
      if (!each.queue.empty()) out.field("qgroup", each.queue);
      out.field("sid", each.sid).field("msgs", each.messages);
      if (each.max != 0) out.field("max", each.max);
      out.field("cid", each.cid).end_object();
    }
    out.end_array();
  }
  out.end_object();
  return out.take();
}

}  // namespace brokkr::broker
