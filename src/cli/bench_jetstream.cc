// brokkr bench js, bench kv: what streams and buckets can take, one state machine a client.

#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/bytes.h"
#include "base/ids.h"
#include "cli/bench_report.h"
#include "cli/columns.h"
#include "cli/connect.h"
#include "cli/files.h"
#include "cli/jetstream_api.h"
#include "cli/json_shape.h"
#include "cli/prompt.h"
#include "cli/terminal.h"
#include "client/headers.h"

namespace brokkr::cli {
namespace {

constexpr uint64_t kStoreClientsMax = 10'000;
constexpr Duration kConsumerIdle = std::chrono::seconds(10);
constexpr Duration kConnectMax = std::chrono::seconds(30);

enum class StoreRole : uint8_t { Sync, Async, Atomic, Ordered, Consume, Fetch, Get, GetBatch, Put, GetKey };

struct StoreRoleText {
  const char* noun;
  const char* activity;  // "publishing 20 messages"
};
StoreRoleText text_of(StoreRole role) {
  switch (role) {
    case StoreRole::Sync: return {"synchronous publisher", "publishing "};
    case StoreRole::Async: return {"asynchronous publisher", "publishing "};
    case StoreRole::Atomic: return {"atomic batch publisher", "publishing "};
    case StoreRole::Ordered: return {"ordered ephemeral consumer", "expecting "};
    case StoreRole::Consume: return {"durable consumer (callback)", "expecting "};
    case StoreRole::Fetch: return {"durable consumer (fetch)", "expecting "};
    case StoreRole::Get: return {"synchronous getter", "expecting "};
    case StoreRole::GetBatch: return {"batched direct getter", "expecting "};
    case StoreRole::Put: return {"KV putter", "publishing "};
    case StoreRole::GetKey: return {"KV getter", "trying to get "};
  }
  return {"?", "?"};
}

struct StoreClient : BenchMeasure {
  std::unique_ptr<client::Connection> connection;
  std::unique_ptr<client::Subscription> subscription;
  std::string inbox;
  std::string consumer;       // its own, when ordered
  uint64_t target = 0;
  uint64_t first = 0;         // the number of its first message among all clients'
  MonotonicTime operation;    // when the current one began
  MonotonicTime wake;         // when the next one begins, with --sleep
  bool is_sleeping = false;
  uint64_t open = 0;          // answers the current operation still waits for
  uint64_t got = 0;           // messages of the current operation
  uint64_t unconfirmed = 0;   // acknowledgements the server has not answered
  uint64_t next_seq = 1;
  std::string failure;        // why it stopped
};

bool has_error(std::string_view ack) { return ack.find("\"error\"") != std::string_view::npos; }

class StoreBench {
 public:
  StoreBench(const Context& context, const Values& values, StoreRole role)
      : context_(context),
        values_(values),
        role_(role),
        messages_(values.number("msgs")),
        wanted_(values.number("clients")),
        batch_(std::max<uint64_t>(values.has("batch") || !values.text("batch").empty() ? values.number("batch") : 1, 1)),
        sleep_(values.duration("sleep")),
        stream_(is_bucket() ? "KV_" + values.text("bucket") : values.text("stream")) {}

  int run() {
    if (wanted_ == 0 || wanted_ > kStoreClientsMax || messages_ == 0) {
      return fail(context_.program, "--clients: 1 to 10000, --msgs: at least 1");
    }
    auto js = JetStream::open(context_, values_);
    if (!js) return fail(context_.program, js.error());
    js_ = std::make_unique<JetStream>(std::move(*js));
    for (auto step : {&StoreBench::read_payload, &StoreBench::announce, &StoreBench::prepare_store,
                      &StoreBench::connect_clients, &StoreBench::work}) {
      if (Status status = (this->*step)(); !status) return fail(context_.program, status.error());
    }
    report();
    for (const auto& c : clients_) {
      if (c->errors > 0) return fail(context_.program, c->failure);
    }
    return 0;
  }

 private:
  bool is_bucket() const { return role_ == StoreRole::Put || role_ == StoreRole::GetKey; }
  bool is_publisher() const {
    return role_ == StoreRole::Sync || role_ == StoreRole::Async || role_ == StoreRole::Atomic;
  }
  bool is_continuous() const { return role_ == StoreRole::Ordered || role_ == StoreRole::Consume; }
  bool is_acking() const {
    return role_ == StoreRole::Consume || role_ == StoreRole::Fetch ? values_.text("acks") != "none" : false;
  }
  client::Session& session() { return js_->session(); }
  MonotonicTime now() { return session().clock().now(); }

  Status read_payload() {
    payload_.assign(values_.number("size"), 'x');
    if (!values_.text("payload").empty()) {
      auto text = read_file(values_.text("payload"), 64 << 20);
      if (!text) return text.error();
      payload_ = std::move(*text);
    }
    auto headers = make_headers(values_.all("header"));
    if (!headers) return headers.error();
    headers_ = std::move(*headers);
    return {};
  }

  Status announce() {
    std::vector<std::pair<std::string, std::string>> facts{
        {"clients", comma(wanted_)}, {"msg-size", short_bytes(payload_.size())}, {"msgs", comma(messages_)},
        {"sleep", format_go_duration(sleep_)}};
    const auto flag = [&](const char* name, const char* shown) {
      facts.emplace_back(shown, values_.is_on(name) ? "true" : "false");
    };
    if (is_bucket()) {
      facts.emplace_back("bucket", values_.text("bucket"));
    } else {
      facts.emplace_back("stream", stream_);
    }
    if (role_ == StoreRole::GetKey) facts.emplace_back("randomize", comma(values_.number("randomize")));
    if (role_ != StoreRole::Get && role_ != StoreRole::GetBatch && role_ != StoreRole::GetKey) flag("purge", "purge");
    if (role_ != StoreRole::Get && role_ != StoreRole::Ordered && !is_bucket()) {
      facts.emplace_back("batch", comma(role_ == StoreRole::Sync ? 0 : batch_));
    }
    if (is_publisher()) {
      facts.emplace_back("subject", values_.text("subject"));
      flag("multisubject", "multi-subject");
      flag("multisubjectrandomize", "multi-subject-randomize");
      facts.emplace_back("multi-subject-max", comma(values_.number("multisubjectmax")));
    }
    if (values_.is_on("create")) {
      facts.emplace_back("dedup-window", format_go_duration(values_.duration("dedupwindow")));
      flag("dedup", "deduplication");
      facts.emplace_back("max-bytes", comma(values_.number("maxbytes")));
      facts.emplace_back("replicas", values_.text("replicas"));
      facts.emplace_back("storage", values_.text("storage"));
    }
    if (role_ == StoreRole::GetBatch) facts.emplace_back("filter", values_.text("filter"));
    if (role_ == StoreRole::Consume || role_ == StoreRole::Fetch) {
      facts.emplace_back("acks", values_.text("acks"));
      facts.emplace_back("consumer", values_.text("consumer"));
      flag("doubleack", "double-acked");
    }
    std::sort(facts.begin(), facts.end());
    std::string text;
    for (const auto& [name, value] : facts) text += (text.empty() ? "" : ", ") + name + "=" + value;
    remark("Starting JetStream " + std::string(text_of(role_).noun) + " benchmark [" + text + "]");
    return {};
  }

  Draft stream_config() const {
    Draft config;
    config.text("name", stream_);
    config.text("retention", "limits");
    config.text("discard", "new");
    config.text("storage", values_.text("storage") == "memory" ? "memory" : "file");
    config.number("num_replicas", static_cast<int64_t>(values_.number("replicas")));
    config.number("max_bytes", static_cast<int64_t>(values_.number("maxbytes")));
    config.flag("allow_direct", true);
    if (is_bucket()) {
      config.texts("subjects", {"$KV." + values_.text("bucket") + ".>"});
      config.text("description", "nats bench bucket");
      config.number("max_msgs_per_subject", static_cast<int64_t>(values_.number("history")));
      config.flag("allow_rollup_hdrs", true);
      config.flag("deny_delete", true);
      return config;
    }
    config.texts("subjects", {values_.text("subject") + (values_.is_on("multisubject") ? ".*" : "")});
    config.number("duplicate_window", values_.duration("dedupwindow").count());
    const bool is_async = values_.is_on("persistasync");
    config.flag("allow_atomic", !is_async);
    if (is_async) config.text("persist_mode", "async");
    return config;
  }

  Status prepare_store() {
    if (role_ == StoreRole::Put && values_.is_on("purge")) {
      auto gone = js_->request("STREAM.DELETE." + stream_);
      if (!gone && gone.error().code != Errc::NotFound) return gone.error();
    }
    if (values_.is_on("create") || role_ == StoreRole::Put) {
      const std::string config = stream_config().text();
      auto made = js_->request("STREAM.CREATE." + stream_, config);
      // Of another shape already: --create also means to update.
      if (!made && role_ != StoreRole::Put && made.error().text.ends_with("(10058)")) made = js_->request("STREAM.UPDATE." + stream_, config);
      if (!made && role_ != StoreRole::Put) {
        return prefixed("could not create the stream. If you want to delete and re-define the stream use `nats stream delete " +
                            stream_ + "`", made.error());
      }
    }
    auto info = js_->request("STREAM.INFO." + stream_);
    if (!info) return prefixed("could not access stream " + stream_, info.error());
    const json::Value* state = info->find("state");
    if (state != nullptr) first_seq_ = std::max<uint64_t>(static_cast<uint64_t>(state->get_int("first_seq")), 1);
    if (is_publisher()) remark("Using stream: " + stream_);
    if (values_.is_on("purge") && !is_bucket()) {
      remark("Purging the stream");
      if (auto purged = js_->request("STREAM.PURGE." + stream_); !purged) return purged.error();
    }
    if (role_ == StoreRole::Consume || role_ == StoreRole::Fetch) return make_durable();
    return {};
  }

  Status make_durable() {
    const std::string name = values_.text("consumer");
    Draft config;
    config.text("durable_name", name);
    config.text("name", name);
    config.text("deliver_policy", "all");
    config.text("ack_policy", values_.text("acks"));
    config.text("replay_policy", "instant");
    config.number("max_ack_pending", static_cast<int64_t>(batch_ * wanted_));
    config.number("inactive_threshold", kConsumerIdle.count());
    if (values_.has("filter")) config.texts("filter_subjects", values_.all("filter"));
    auto made = make_consumer(name, config);
    return made ? Status() : prefixed("creating the durable consumer '" + name + "'", made.error());
  }

  Result<json::Value> make_consumer(const std::string& name, const Draft& config) {
    Draft body;
    body.text("stream_name", stream_);
    body.object("config", config);
    return js_->request("CONSUMER.CREATE." + stream_ + "." + name, body.text());
  }

  Status connect_clients() {
    uint64_t first = 0;
    for (uint64_t i = 0; i < wanted_; ++i) {
      auto options = make_options(context_, values_);
      if (!options) return options.error();
      auto c = std::make_unique<StoreClient>();
      c->target = role_ == StoreRole::Ordered
                      ? messages_
                      : messages_ / wanted_ + (i < messages_ % wanted_ ? 1 : 0);
      c->first = first;
      c->next_seq = first_seq_ + first;
      first += c->target;
      remark("[" + std::to_string(i + 1) + "] Starting JetStream " + text_of(role_).noun + ", " +
             text_of(role_).activity + comma(c->target) + " messages");
      auto connection = client::Connection::open(
          {session().loop(), session().resolver(), session().random()}, std::move(*options));
      if (!connection) return connection.error();
      c->connection = std::move(*connection);
      clients_.push_back(std::move(c));
    }
    const bool is_up = client::run_until(session().loop(), kConnectMax, [this] {
      return std::all_of(clients_.begin(), clients_.end(),
                         [](const auto& c) { return c->connection->is_connected(); });
    });
    if (!is_up) return Error{Errc::TimedOut, "not all clients could connect"};
    return {};
  }

  Status work() {
    uint64_t total = 0;
    for (const auto& c : clients_) total += c->target;
    ProgressBar bar(text_of(role_).noun, total, values_.is_on("progress"));
    for (const auto& c : clients_) {
      if (Status status = start(*c); !status) return status;
    }
    while (true) {
      uint64_t done = 0;
      bool is_finished = true;
      const MonotonicTime time = now();
      Duration wait = std::chrono::milliseconds(100);
      for (const auto& c : clients_) {
        if (c->connection->state() == client::State::Closed) return c->connection->last_error();
        if (c->is_sleeping && c->wake <= time) {
          c->is_sleeping = false;
          begin(*c);
        }
        if (c->is_sleeping) wait = std::min<Duration>(wait, c->wake - time);
        done += c->done;
        is_finished = is_finished && c->ended != MonotonicTime{};
      }
      if (is_finished) return {};
      bar.update(done, time);
      session().loop().run_once(std::max(wait, Duration(0)));
    }
  }

  Status start(StoreClient& c) {
    c.started = now();
    if (c.target == 0) {
      c.ended = c.started;
      return {};
    }
    if (role_ == StoreRole::Ordered) {
      c.consumer = std::string(Nuid(session().random()).next());
      Draft config;
      config.text("name", c.consumer);
      config.text("deliver_policy", "all");
      config.text("ack_policy", "none");
      config.flag("mem_storage", true);
      config.number("num_replicas", 1);
      config.number("inactive_threshold", kConsumerIdle.count());
      if (values_.has("filter")) config.texts("filter_subjects", values_.all("filter"));
      auto made = make_consumer(c.consumer, config);
      if (!made) return prefixed("creating the ephemeral ordered consumer", made.error());
    } else {
      c.consumer = values_.text("consumer");
    }
    if (is_continuous() || role_ == StoreRole::Fetch || role_ == StoreRole::GetBatch) {
      c.inbox = c.connection->make_inbox();
      auto subscription = c.connection->subscribe(
          c.inbox, [this, &c](const client::Message& message) { on_message(c, message); });
      if (!subscription) return subscription.error();
      c.subscription = std::move(*subscription);
    }
    c.started = now();
    begin(c);
    return {};
  }

  void fail_client(StoreClient& c, const std::string& why) {
    if (c.failure.empty()) c.failure = why;
    ++c.errors;
  }

  // The client stops: it could not even send.
  void give_up(StoreClient& c, const Error& error) {
    fail_client(c, error.text);
    c.ended = now();
  }

  void begin(StoreClient& c) {
    c.operation = now();
    c.got = 0;
    Status sent;
    switch (role_) {
      case StoreRole::Sync:
      case StoreRole::Async: sent = publish_all(c, role_ == StoreRole::Sync ? 1 : std::min(batch_, c.target - c.done)); break;
      case StoreRole::Atomic: sent = publish_batch(c, std::min(batch_, c.target - c.done)); break;
      case StoreRole::Put: sent = ask(c, key_subject(c), payload_, {}); break;
      case StoreRole::GetKey: sent = ask(c, js_->subject("DIRECT.GET." + stream_ + "." + key_subject(c)), {}, {}); break;
      case StoreRole::Get:
        sent = ask(c, js_->subject("DIRECT.GET." + stream_), "{\"seq\":" + std::to_string(c.next_seq++) + "}", {});
        break;
      case StoreRole::GetBatch: sent = get_batch(c); break;
      case StoreRole::Fetch: sent = pull(c, std::min(batch_, c.target - c.done)); break;
      case StoreRole::Consume:
      case StoreRole::Ordered: sent = pull_more(c); break;
    }
    if (!sent) give_up(c, sent.error());
  }

  // The operation has brought `count` messages forward.
  void complete(StoreClient& c, uint64_t count) {
    const MonotonicTime time = now();
    if (c.errors == 0) {
      c.latencies.push_back(latency_sample(time - c.operation));
      c.done += count;
    }
    if (c.done >= c.target || c.errors > 0) {
      c.ended = time;
    } else if (sleep_ > Duration(0)) {
      c.is_sleeping = true;
      c.wake = time + sleep_;
    } else {
      begin(c);
    }
  }

  Status ask(StoreClient& c, const std::string& subject, std::string_view payload, const std::string& headers) {
    auto sent = c.connection->request(
        subject, payload, js_->timeout(),
        [this, &c](const Result<client::Message>& reply) {
          if (!reply) {
            fail_client(c, reply.error().text);
          } else if (reply->status() >= 400) {
            fail_client(c, "status " + std::to_string(reply->status()));
          } else if (role_ == StoreRole::Put && has_error(reply->payload)) {
            fail_client(c, std::string(reply->payload));
          }
          complete(c, 1);
        },
        headers);
    return sent ? Status() : Status(sent.error());
  }

  std::string key_subject(StoreClient& c) {
    const uint64_t range = values_.number("randomize");
    const uint64_t key = range > 0 ? session().random().below(range) : c.first + c.done;
    return "$KV." + values_.text("bucket") + "." + std::to_string(key);
  }

  std::string publish_subject(uint64_t number) {
    const std::string subject = values_.text("subject");
    if (!values_.is_on("multisubject")) return subject;
    const uint64_t most = values_.number("multisubjectmax");
    if (most == 0) return subject + "." + std::to_string(number);
    const uint64_t pick = values_.is_on("multisubjectrandomize") ? session().random().below(most) : number % most;
    std::string token = std::to_string(pick);
    const size_t width = std::to_string(most - 1).size();
    return subject + "." + std::string(width - std::min(width, token.size()), '0') + token;
  }

  std::string message_headers(uint64_t number) const {
    if (!values_.is_on("dedup")) return headers_;
    return client::with_header(headers_, "Nats-Msg-Id", run_id_ + "-" + std::to_string(number));
  }

  Status publish_all(StoreClient& c, uint64_t count) {
    c.open = count;
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t number = c.first + c.done + i;
      auto sent = c.connection->request(
          publish_subject(number), payload_, js_->timeout(),
          [this, &c, count](const Result<client::Message>& reply) {
            if (!reply) {
              fail_client(c, reply.error().text);
            } else if (has_error(reply->payload)) {
              fail_client(c, std::string(reply->payload));
            }
            if (--c.open == 0) complete(c, count);
          },
          message_headers(number));
      if (!sent) return sent.error();
    }
    return {};
  }

  Status publish_batch(StoreClient& c, uint64_t count) {
    const std::string id(Nuid(session().random()).next());
    for (uint64_t i = 1; i <= count; ++i) {
      const uint64_t number = c.first + c.done + i - 1;
      std::string headers = client::with_header(message_headers(number), "Nats-Batch-Id", id);
      headers = client::with_header(headers, "Nats-Batch-Sequence", std::to_string(i));
      if (i < count) {
        const Status sent = c.connection->publish(publish_subject(number), payload_, {{}, headers});
        if (!sent) return sent;
        continue;
      }
      headers = client::with_header(headers, "Nats-Batch-Commit", "1");
      auto sent = c.connection->request(
          publish_subject(number), payload_, js_->timeout(),
          [this, &c, count](const Result<client::Message>& reply) {
            if (!reply) {
              fail_client(c, reply.error().text);
            } else if (has_error(reply->payload)) {
              fail_client(c, std::string(reply->payload));
            }
            complete(c, count);
          },
          headers);
      if (!sent) return sent.error();
    }
    return {};
  }

  Status pull(StoreClient& c, uint64_t count) {
    c.open += count;
    const std::string body = "{\"expires\":" + std::to_string(js_->timeout().count()) +
                             ",\"batch\":" + std::to_string(count) + "}";
    return c.connection->publish(js_->subject("CONSUMER.MSG.NEXT." + stream_ + "." + c.consumer), body, {c.inbox, {}});
  }

  // Fills up to a batch, but never with messages that would be left unacknowledged at the end.
  Status pull_more(StoreClient& c) {
    const uint64_t taken = c.done + c.unconfirmed + c.open;
    const uint64_t count = std::min(batch_ - std::min(batch_, c.open), c.target - std::min(c.target, taken));
    return count == 0 ? Status() : pull(c, count);
  }

  Status get_batch(StoreClient& c) {
    const uint64_t count = std::min(batch_, c.target - c.done);
    Draft body;
    body.number("batch", static_cast<int64_t>(count));
    body.number("seq", static_cast<int64_t>(c.next_seq));
    body.text("next_by_subj", values_.text("filter"));
    return c.connection->publish(js_->subject("DIRECT.GET." + stream_), body.text(), {c.inbox, {}});
  }

  void on_message(StoreClient& c, const client::Message& message) {
    if (c.ended != MonotonicTime{}) return;
    const int status = message.payload.empty() ? message.status() : 0;
    if (role_ == StoreRole::GetBatch) return on_got(c, message, status);
    if (status == 100) return;
    if (status != 0) return on_pull_end(c, status);
    if (c.done + c.got == 0 && is_continuous()) c.started = now();
    ++c.got;
    c.open -= std::min<uint64_t>(c.open, 1);
    if (!acknowledge(c, message)) on_handled(c);
  }

  // One message has been taken and, where it matters, its acknowledgement confirmed.
  void on_handled(StoreClient& c) {
    if (c.ended != MonotonicTime{}) return;
    if (!is_continuous()) {
      if (c.open == 0 && c.unconfirmed == 0) complete(c, c.got);
      return;
    }
    ++c.done;
    if (c.done == c.target) {
      c.ended = now();
    } else if (c.open <= batch_ / 2) {
      if (Status sent = pull_more(c); !sent) give_up(c, sent.error());
    }
  }

  // The server will send nothing more for this pull.
  void on_pull_end(StoreClient& c, int status) {
    c.open = 0;
    if (is_continuous()) {
      if (status != 408 && status != 404) return give_up(c, {Errc::Unavailable, "status " + std::to_string(status)});
      if (Status sent = pull_more(c); !sent) give_up(c, sent.error());
    } else if (c.unconfirmed > 0) {
      return;  // their answers end the operation
    } else if (c.got > 0) {
      complete(c, c.got);
    } else {
      give_up(c, {Errc::NotFound, "no more messages: status " + std::to_string(status)});
    }
  }

  void on_got(StoreClient& c, const client::Message& message, int status) {
    if (status == 0) {
      ++c.got;
      c.next_seq = parse_uint(message.header("Nats-Sequence")).value_or(c.next_seq) + 1;
      return;
    }
    if (status != 204 || c.got == 0) {
      return give_up(c, {Errc::NotFound, "no more messages: status " + std::to_string(status)});
    }
    complete(c, c.got);
  }

  // True when a confirmation will call `on_handled`.
  bool acknowledge(StoreClient& c, const client::Message& message) {
    if (!is_acking()) return false;
    if (values_.text("acks") == "all" && c.open > 0 && !is_continuous()) return false;
    if (!values_.is_on("doubleack")) {
      static_cast<void>(c.connection->publish(message.reply, "+ACK"));
      return false;
    }
    auto sent = c.connection->request(message.reply, "+ACK", js_->timeout(),
                                      [this, &c](const Result<client::Message>& reply) {
                                        --c.unconfirmed;
                                        if (!reply) return give_up(c, reply.error());
                                        on_handled(c);
                                      });
    if (!sent) give_up(c, sent.error());
    c.unconfirmed += sent ? 1 : 0;
    return true;
  }

  void report() {
    std::vector<const BenchMeasure*> measures;
    for (const auto& c : clients_) measures.push_back(c.get());
    const bool has_latency = !is_continuous();
    if (values_.is_on("json")) return print_bench_json(text_of(role_).noun, measures, payload_.size(), has_latency);
    print_bench_report("NATS JetStream " + std::string(text_of(role_).noun), measures, payload_.size(), has_latency);
  }

  const Context& context_;
  const Values& values_;
  const StoreRole role_;
  const uint64_t messages_;
  const uint64_t wanted_;
  const uint64_t batch_;
  const Duration sleep_;
  const std::string stream_;
  uint64_t first_seq_ = 1;
  std::string payload_;
  std::string headers_;
  std::unique_ptr<JetStream> js_;
  const std::string run_id_ = std::to_string(SystemClock().wall_now().time_since_epoch().count());
  std::vector<std::unique_ptr<StoreClient>> clients_;  // gone before the session in js_
};

std::vector<Flag> shared_flags() {
  return {
      {"sleep", "Sleep for the specified interval between publications", Kind::Duration, "DURATION"},
      {"clients", "Number of concurrent clients", Kind::Number, "", "1"},
      {"msgs", "Number of messages to publish or subscribe to", Kind::Number, "", "100000"},
      {"progress", "Enable or disable the progress bar", Kind::Bool, "", "true"},
      {"size", "Size of the test messages", Kind::Size, "", "128B"},
      {"json,j", "Produce JSON output"},
  };
}

std::vector<Flag> storage_flags(const char* what) {
  return {
      {"storage", "JetStream storage (memory/file) for the " + std::string(what), Kind::Text, "", "file"},
      {"replicas", "Number of replicas for the " + std::string(what), Kind::Number, "", "1"},
      {"maxbytes", "The maximum size of the stream or KV bucket in bytes", Kind::Size, "", "1GB"},
  };
}

const Flag kPurgeFlag{"purge", "Purge the stream before running"};
Flag batch_flag(const char* help) { return {"batch", help, Kind::Number, "", "500"}; }

Command store_part(const char* name, const char* summary, StoreRole role, std::vector<Flag> flags) {
  Command command{name, {}, summary};
  command.flags = std::move(flags);
  command.run = [role](const Context& context, const Values& values) {
    return StoreBench(context, values, role).run();
  };
  return command;
}

Command publish_part(const char* name, const char* summary, StoreRole role) {
  std::vector<Flag> flags{
      {"multisubject", "Multi-subject mode, each message is published on a subject that includes the publisher's message sequence number as a token"},
      {"multisubjectmax", "The maximum number of subjects to use in multi-subject mode (0 means no max)", Kind::Number, "", "100000"},
      {"multisubjectrandomize", "Randomize which subjects are being used when in multisubject mode"},
      {"payload", "File containing a message payload to send", Kind::Text, "PAYLOAD"},
      {"header,H", "Adds headers to the message using K:V format", Kind::Text, "K:V", "", "", true},
      {"create", "Create or update the stream first"},
      {"dedup", "Sets a message id in the header to use JS Publish de-duplication"},
      {"dedupwindow", "Sets the duration of the stream's deduplication functionality", Kind::Duration, "", "2m"},
      kPurgeFlag,
      {"persistasync", "Set the persistence mode for the steam to asynchronous (only for R1 streams)"},
  };
  if (role != StoreRole::Sync) flags.push_back(batch_flag("Sets the number of operations per batch"));
  for (Flag& flag : storage_flags("\"benchstream\" stream")) flags.push_back(std::move(flag));
  Command command = store_part(name, summary, role, std::move(flags));
  command.arguments = {{"subject", "Subject to use for the benchmark"}};
  return command;
}

}  // namespace

Command bench_jetstream_command() {
  const Flag filter{"filter", "Filter Stream by subjects", Kind::Text, "SUBJECTS", "", "", true};
  const Flag one_filter{"filter", "Filter for the messages", Kind::Text, "", ">"};
  const Flag consumer{"consumer", "Specify the durable consumer name to use", Kind::Text, "", "nats-bench"};
  const Flag acks{"acks", "Acknowledgement mode for the consumer", Kind::Text, "", "explicit"};
  const Flag twice{"doubleack", "Synchronously acknowledge messages, waiting for a reply from the server"};
  const Flag batch = batch_flag("Sets the max number of messages that can be buffered in the client");
  Command publish{"pub", {}, "Publish JetStream messages"};
  publish.subcommands.push_back(publish_part("sync", "Use synchronous JetStream publish", StoreRole::Sync));
  publish.subcommands.push_back(publish_part("async", "Use asynchronous JetStream publish", StoreRole::Async));
  publish.subcommands.push_back(publish_part("atomic", "Use atomic batch JetStream publish", StoreRole::Atomic));
  publish.subcommands.back().aliases = {"batch"};
  Command get{"get", {}, "Retrieve messages from JetStream using gets"};
  get.subcommands.push_back(store_part("sync", "Use synchronous JetStream get", StoreRole::Get, {}));
  get.subcommands.push_back(store_part("batch", "Use batched JetStream direct get", StoreRole::GetBatch, {batch, one_filter}));
  Command group{"js", {}, "JetStream benchmark commands"};
  group.flags = shared_flags();
  group.flags.push_back({"stream", "The name of the stream to create or use", Kind::Text, "", "benchstream"});
  group.subcommands.push_back(std::move(publish));
  group.subcommands.push_back(store_part("ordered", "Consume JetStream messages from a consumer using an ephemeral ordered consumer",
                                         StoreRole::Ordered, {batch, kPurgeFlag, filter}));
  group.subcommands.push_back(store_part("consume", "Consume JetStream messages from a durable consumer using a callback",
                                         StoreRole::Consume, {consumer, batch, acks, twice, filter, kPurgeFlag}));
  group.subcommands.push_back(store_part("fetch", "Consume JetStream messages from a durable consumer using fetch",
                                         StoreRole::Fetch, {consumer, batch, acks, twice, filter, kPurgeFlag}));
  group.subcommands.push_back(std::move(get));
  return group;
}

Command bench_key_value_command() {
  const Flag random{"randomize", "Use keys at random between 0 and this number (set to 0 for sequential access)",
                    Kind::Number, "", "0"};
  std::vector<Flag> flags = storage_flags("\"benchbucket\" bucket");
  flags.push_back({"history", "History depth for the bucket in KV mode", Kind::Number, "", "1"});
  flags.push_back(kPurgeFlag);
  flags.push_back(random);
  Command group{"kv", {}, "KV benchmark commands"};
  group.flags = shared_flags();
  group.flags.push_back({"bucket", "The name of the bucket to create or use", Kind::Text, "", "benchbucket"});
  group.subcommands.push_back(store_part("put", "Put messages in a KV bucket", StoreRole::Put, std::move(flags)));
  group.subcommands.push_back(store_part("get", "Get messages from a KV bucket", StoreRole::GetKey, {random}));
  return group;
}

}  // namespace brokkr::cli
