#include "workload/tracer.h"

#include <curl/curl.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "base/bytes.h"
#include "base/json.h"
#include "io/worker.h"

namespace brokkr::workload {
namespace {

constexpr std::string_view kTracesPath = "/v1/traces";
constexpr Duration kLastFlush = std::chrono::seconds(1);
constexpr Duration kReportEvery = std::chrono::minutes(1);
constexpr size_t kRequestsMax = 4;  // under way or waiting

using Attributes = std::vector<std::pair<std::string, std::string>>;

void write_span_attributes(json::Writer& out, const Attributes& attributes) {
  out.key("attributes").begin_array();
  for (const auto& [key, value] : attributes) {
    out.begin_object().field("key", key).key("value").begin_object();
    out.field("stringValue", value).end_object().end_object();
  }
  out.end_array();
}

void write_span(json::Writer& out, const Span& span) {
  const auto nanos = [](WallTime time) { return std::to_string(time.time_since_epoch().count()); };
  out.begin_object().field("traceId", to_hex(span.context.trace_id));
  out.field("spanId", to_hex(span.context.span_id));
  if (span.parent != std::array<uint8_t, 8>()) out.field("parentSpanId", to_hex(span.parent));
  if (!span.context.state.empty()) out.field("traceState", span.context.state);
  out.field("name", span.name).field("kind", static_cast<int>(span.kind));
  out.field("startTimeUnixNano", nanos(span.start)).field("endTimeUnixNano", nanos(span.end));
  write_span_attributes(out, span.attributes);
  if (span.has_failed) {
    out.key("status").begin_object().field("code", 2).field("message", span.error).end_object();
  }
  out.end_object();
}

size_t drop_answer(char*, size_t size, size_t count, void*) { return size * count; }

int stop_when_told(void* stopping, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<std::atomic<bool>*>(stopping)->load(std::memory_order_relaxed) ? 1 : 0;
}

// Posts one body; empty on success, else what went wrong. Blocks; on the exporter's thread.
std::string post_spans(const Tracer::Options& options, const std::string& body,
                       std::atomic<bool>& stopping) {
  CURL* curl = curl_easy_init();
  if (curl == nullptr) return "no memory";
  curl_slist* headers = curl_slist_append(nullptr, "Content-Type: application/json");
  for (const auto& [key, value] : options.headers) {
    headers = curl_slist_append(headers, (key + ": " + value).c_str());
  }
  const auto timeout = std::chrono::duration_cast<std::chrono::milliseconds>(options.timeout);
  char reason[CURL_ERROR_SIZE] = {};
  curl_easy_setopt(curl, CURLOPT_URL, options.endpoint.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.data());
  curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, stop_when_told);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &stopping);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop_answer);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
  const CURLcode done = curl_easy_perform(curl);
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  curl_slist_free_all(headers);
  curl_easy_cleanup(curl);
  if (done != CURLE_OK) return reason[0] != '\0' ? reason : curl_easy_strerror(done);
  return status / 100 == 2 ? std::string() : "the collector answered " + std::to_string(status);
}

// What a request under way shares with its thread, which may outlive the tracer by a moment.
struct Batch {
  std::vector<Span> spans;
  std::string failure;
};

class OtlpTracer final : public Tracer {
 public:
  OtlpTracer(io::Loop& loop, Log& log, Options options)
      : loop_(loop), log_(log), options_(std::move(options)), random_(secure_seed()),
        worker_("otlp"), flush_(loop, [this] { flush(); }) {}

  // The last spans are worth a short wait, no more.
  ~OtlpTracer() override {
    stopping_->store(true, std::memory_order_relaxed);
    if (spans_.empty()) return;
    options_.timeout = std::min(options_.timeout, kLastFlush);
    std::atomic<bool> goes_on{false};
    const std::string failure =
        post_spans(options_, encode_spans(spans_, options_.resource), goes_on);
    if (!failure.empty()) log_.debug("traces: " + failure);
  }

  TraceContext start(const TraceContext& parent) override { return make_child(parent, random_); }

  void end(Span span) override {
    if (!span.context.is_sampled()) return;
    if (spans_.size() >= options_.queue_max) {
      ++counts_.dropped;
      return;
    }
    spans_.push_back(std::move(span));
    if (spans_.size() >= options_.batch_max) return flush();
    if (!flush_.is_armed()) flush_.start(options_.flush_every);
  }

  Counts counts() const override { return counts_; }

 private:
  void flush() {
    if (spans_.empty()) return;
    // While the collector is slow spans wait here, up to their limit.
    if (under_way_ >= kRequestsMax) return flush_.start(options_.flush_every);
    const auto batch = std::make_shared<Batch>();
    batch->spans = std::exchange(spans_, {});
    ++under_way_;
    const bool is_taken = worker_.run(
        loop_,
        [batch, options = options_, stopping = stopping_] {
          batch->failure =
              post_spans(options, encode_spans(batch->spans, options.resource), *stopping);
        },
        [this, batch, alive = std::weak_ptr<bool>(alive_)] {
          if (!alive.expired()) on_sent(*batch);
        });
    if (is_taken) return;
    --under_way_;
    counts_.dropped += batch->spans.size();
  }

  void on_sent(const Batch& batch) {
    --under_way_;
    if (batch.failure.empty()) {
      counts_.exported += batch.spans.size();
      return;
    }
    ++counts_.failed_requests;
    counts_.dropped += batch.spans.size();
    const MonotonicTime now = loop_.now();
    if (last_report_ != MonotonicTime() && now - last_report_ < kReportEvery) return;
    last_report_ = now;
    log_.warn("traces: " + options_.endpoint + ": " + batch.failure + " (" +
              std::to_string(counts_.dropped) + " spans lost so far)");
  }

  io::Loop& loop_;
  Log& log_;
  Options options_;
  SeededRandom random_;
  std::vector<Span> spans_;
  size_t under_way_ = 0;
  Counts counts_;
  MonotonicTime last_report_{};
  std::shared_ptr<std::atomic<bool>> stopping_ = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  io::Worker worker_;
  io::Timer flush_;
};

}  // namespace

std::string encode_spans(const std::vector<Span>& spans, const Attributes& resource) {
  json::Writer out;
  out.begin_object().key("resourceSpans").begin_array().begin_object();
  out.key("resource").begin_object();
  write_span_attributes(out, resource);
  out.end_object().key("scopeSpans").begin_array().begin_object();
  out.key("scope").begin_object().field("name", "brokkr.workload").end_object();
  out.key("spans").begin_array();
  for (const Span& span : spans) write_span(out, span);
  out.end_array().end_object().end_array().end_object().end_array().end_object();
  return out.take();
}

Result<std::unique_ptr<Tracer>> Tracer::open(io::Loop& loop, Log& log, Options options) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (ready != CURLE_OK) return Error{Errc::Unavailable, "libcurl cannot be used"};
  const bool is_http = options.endpoint.starts_with("http://") ||
                       options.endpoint.starts_with("https://");
  if (!is_http || options.endpoint.find_first_of(" \r\n") != std::string::npos) {
    return Error{Errc::InvalidArgument,
                 "OTLP endpoint \"" + options.endpoint + "\" is no http or https address"};
  }
  return std::unique_ptr<Tracer>(std::make_unique<OtlpTracer>(loop, log, std::move(options)));
}

Tracer::Options tracer_options(const std::string& endpoint) {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value != nullptr ? value : "");
  };
  Tracer::Options options;
  options.endpoint = !endpoint.empty() ? endpoint : variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
  const bool is_whole = !options.endpoint.empty() && endpoint.empty();
  if (options.endpoint.empty()) options.endpoint = variable("OTEL_EXPORTER_OTLP_ENDPOINT");
  if (!options.endpoint.empty() && !is_whole && !options.endpoint.ends_with(kTracesPath)) {
    while (options.endpoint.ends_with('/')) options.endpoint.pop_back();
    options.endpoint += kTracesPath;
  }
  const std::string headers = variable("OTEL_EXPORTER_OTLP_HEADERS");
  std::string_view rest = headers;
  while (!rest.empty()) {
    const std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), item.size() + 1));
    const size_t equals = item.find('=');
    if (equals == std::string_view::npos || equals == 0) continue;
    options.headers.emplace_back(trim(item.substr(0, equals)), trim(item.substr(equals + 1)));
  }
  const std::string name = variable("OTEL_SERVICE_NAME");
  options.resource.emplace_back("service.name", name.empty() ? "brokkr" : name);
  return options;
}

}  // namespace brokkr::workload
