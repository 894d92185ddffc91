#include "jetstream/report.h"

#include "broker/monitor/varz.h"
#include "jetstream/jetstream.h"
#include "jetstream/stream_json.h"

namespace brokkr::jetstream {
namespace {

std::string quoted(const std::string& text) {
  return "\"" + text + "\"";
}

void write_stream(json::Writer& out, Stream& stream, const broker::JszOptions& options,
                  const std::string& leader) {
  out.begin_object();
  out.field("name", stream.name()).field("created", format_rfc3339(stream.created()));
  out.key("cluster").begin_object().field("leader", leader).end_object();
  if (options.config) {
    out.key("config");
    write_stream_config(out, stream.config());
  }
  out.key("state");
  write_stream_state(out, stream, {});
  if (options.consumers && !stream.consumers().empty()) {
    out.key("consumer_detail").begin_array();
    for (const auto& [name, consumer] : stream.consumers()) {
      out.begin_object();
      consumer->write_info(out);
      out.end_object();
    }
    out.end_array();
  }
  out.end_object();
}

void write_account(json::Writer& out, Account& account, const broker::JszOptions& options,
                   const std::string& leader) {
  const AccountUsage usage = account.usage();
  out.begin_object();
  out.field("name", account.name()).field("id", account.name());
  out.field("memory", usage.memory).field("storage", usage.storage);
  // nats-server shows the account's limits here, with no limit as the greatest number.
  out.field("reserved_memory", static_cast<uint64_t>(account.limits().max_memory));
  out.field("reserved_storage", static_cast<uint64_t>(account.limits().max_storage));
  out.field("accounts", 0).field("ha_assets", 0);
  out.key("api").begin_object().field("level", 0);
  out.field("total", account.api_stats().total).field("errors", account.api_stats().errors);
  out.end_object();
  if ((options.streams || options.consumers) && !account.streams().empty()) {
    out.key("stream_detail").begin_array();
    for (const auto& [name, stream] : account.streams()) {
      write_stream(out, *stream, options, leader);
    }
    out.end_array();
  }
  out.end_object();
}

}  // namespace

broker::JetStreamSummary Report::summary() {
  const JetStream::Options& options = jetstream_.options();
  broker::JetStreamSummary out;
  out.max_memory = jetstream_.max_memory();
  out.max_storage = jetstream_.max_storage();
  out.store_directory = options.store_directory;
  if (options.sync != store::SyncMode::Always) out.sync_interval = options.sync_interval;
  out.domain = options.domain;
  out.is_strict = options.strict;
  out.api_level = kApiLevel;
  out.api_total = jetstream_.api_stats().total;
  out.api_errors = jetstream_.api_stats().errors;
  for (Account* account : jetstream_.accounts()) {
    const AccountUsage usage = account->usage();
    ++out.accounts;
    out.memory += usage.memory;
    out.storage += usage.storage;
    out.reserved_memory += usage.reserved_memory;
    out.reserved_storage += usage.reserved_storage;
    out.streams += usage.streams;
    out.consumers += usage.consumers;
    for (const auto& [name, stream] : account->streams()) {
      out.messages += stream->messages().messages();
      out.bytes += stream->messages().bytes();
    }
  }
  return out;
}

std::string Report::jsz(const broker::JszOptions& options) {
  const broker::JetStreamSummary total = summary();
  const auto& settings = *jetstream_.server().snapshot()->settings;
  json::Writer out({.indent = 2});
  out.begin_object();
  broker::write_jetstream_stats(out, total);
  out.field("server_id", settings.server_id);
  out.field("now", format_rfc3339(jetstream_.now()));
  out.key("config");
  broker::write_jetstream_config(out, total);
  out.key("limits").begin_object().end_object();
  out.field("streams", total.streams);
  if (options.raft && total.streams > 0) out.field("streams_leader", total.streams);
  out.field("consumers", total.consumers);
  if (options.raft && total.consumers > 0) out.field("consumers_leader", total.consumers);
  out.field("messages", total.messages).field("bytes", total.bytes);
  const bool with_accounts =
      options.accounts || options.streams || options.consumers || !options.account.empty();
  uint64_t count = 0;
  if (with_accounts) {
    out.key("account_details").begin_array();
    for (Account* account : jetstream_.accounts()) {
      if (!options.account.empty() && account->name() != options.account) continue;
      const uint64_t at = count++;
      if (at < options.offset || at - options.offset >= options.limit) continue;
      write_account(out, *account, options, settings.server_name);
    }
    out.end_array();
  }
  out.field("total", with_accounts ? count : total.accounts);
  out.end_object();
  return out.take();
}

broker::JetStreamProblem Report::check_health(const std::string& account, const std::string& stream,
                                              const std::string& consumer) {
  broker::JetStreamProblem problem{404, {}, account, stream, consumer, {}};
  if (const Error* failure = jetstream_.store().failure(); failure != nullptr) {
    return {503, "JETSTREAM", {}, {}, {}, "JetStream storage has failed: " + failure->text};
  }
  if (const Status ready = jetstream_.store().can_append();
      !ready && ready.error().code == Errc::OutOfSpace) {
    return {503, "JETSTREAM", {}, {}, {}, "JetStream storage takes no messages: " + ready.error().text};
  }
  if (account.empty()) return problem;
  Account* const at = jetstream_.find_account(account);
  if (at == nullptr) {
    problem.kind = "ACCOUNT";
    problem.text = "JetStream account " + quoted(account) + " not found";
    return problem;
  }
  Stream* const found = at->find_stream(stream);
  if (!stream.empty() && found == nullptr) {
    problem.kind = "STREAM";
    problem.text =
        "JetStream stream " + quoted(stream) + " not found on account " + quoted(account);
  } else if (!consumer.empty() && found->find_consumer(consumer) == nullptr) {
    problem.kind = "CONSUMER";
    problem.text = "JetStream consumer " + quoted(consumer) + " not found for stream " +
                   quoted(stream) + " on account " + quoted(account);
  }
  return problem;
}

void Report::on_leaf_opened(const std::string& account) {
  Account* const at = jetstream_.find_account(account);
  if (at == nullptr) return;
  for (const auto& [name, stream] : at->streams()) stream->hurry_sources();
}

}  // namespace brokkr::jetstream
