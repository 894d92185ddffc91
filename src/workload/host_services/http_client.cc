#include "workload/host_services/http_client.h"

#include <curl/curl.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "workload/host_services/http_transfer.h"

namespace brokkr::workload {
namespace {

constexpr int kPollLimitMs = 30'000;
constexpr long kKeptConnectionsMax = 64;

}  // namespace

// Left half: the loop's. Right half: the thread's, and what both share under the mutex.
struct HttpClient::Impl {
  struct Job {
    uint64_t number = 0;
    bool is_cancel = false;
    MonotonicTime deadline{};
    HttpRequest request;
  };
  // The loop's, and of callbacks posted to it.
  struct Waiting {
    std::unordered_map<uint64_t, Handler> handlers;
  };
  explicit Impl(io::Loop& l) : loop(l) {}
  ~Impl() {
    if (!thread.joinable()) return;
    is_stopping = true;
    curl_multi_wakeup(multi);
    thread.join();
    curl_multi_cleanup(multi);
  }

  bool begin() {
    if (thread.joinable()) return true;
    static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
    multi = ready == CURLE_OK ? curl_multi_init() : nullptr;
    if (multi == nullptr) return false;
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, kKeptConnectionsMax);
    thread = std::thread([this] { run(); });
    return true;
  }

  void put(Job job) {
    {
      const std::lock_guard lock(mutex);
      jobs.push_back(std::move(job));
    }
    curl_multi_wakeup(multi);
  }

  // On the thread from here.
  void run() {
    while (!is_stopping) {
      take_jobs();
      int running = 0;
      curl_multi_perform(multi, &running);
      int left = 0;
      while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
        if (message->msg == CURLMSG_DONE) finish_hop(message->easy_handle, message->data.result);
      }
      curl_multi_poll(multi, nullptr, 0, kPollLimitMs, nullptr);
    }
    for (const auto& [number, transfer] : transfers) {
      curl_multi_remove_handle(multi, transfer->easy());
    }
    transfers.clear();
  }

  void take_jobs() {
    std::vector<Job> taken;
    {
      const std::lock_guard lock(mutex);
      taken.swap(jobs);
    }
    for (Job& job : taken) {
      if (job.is_cancel) {
        const auto found = transfers.find(job.number);
        if (found == transfers.end()) continue;
        curl_multi_remove_handle(multi, found->second->easy());
        transfers.erase(found);
        continue;
      }
      auto transfer = std::make_unique<Transfer>(job.number, std::move(job.request), job.deadline,
                                                 settings);
      Transfer& at = *transfer;
      transfers.emplace(job.number, std::move(transfer));
      advance(at);
    }
  }

  void advance(Transfer& transfer) {
    if (!transfer.prepare(clock.now())) return finish(transfer);
    curl_multi_add_handle(multi, transfer.easy());
  }

  void finish_hop(CURL* easy, CURLcode result) {
    Transfer* transfer = nullptr;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
    curl_multi_remove_handle(multi, easy);
    if (transfer->finish_hop(result)) return advance(*transfer);
    finish(*transfer);
  }

  void finish(Transfer& transfer) {
    loop.post([weak = weak_waiting, number = transfer.number(),
               response = std::make_shared<HttpResponse>(std::move(transfer.response()))] {
      const auto state = weak.lock();
      if (state == nullptr) return;
      const auto found = state->handlers.find(number);
      if (found == state->handlers.end()) return;
      const Handler handler = std::move(found->second);
      state->handlers.erase(found);
      handler(std::move(*response));
    });
    transfers.erase(transfer.number());
  }

  io::Loop& loop;
  std::shared_ptr<Waiting> waiting = std::make_shared<Waiting>();
  uint64_t next = 1;
  std::thread thread;

  const std::weak_ptr<Waiting> weak_waiting = waiting;
  TransferSettings settings;
  SystemClock clock;
  CURLM* multi = nullptr;
  std::atomic<bool> is_stopping{false};
  std::mutex mutex;
  std::vector<Job> jobs;
  std::unordered_map<uint64_t, std::unique_ptr<Transfer>> transfers;
};

Status check(const HostServiceOptions& options) {
  for (const std::string& text : options.resolve) {
    if (const auto entry = parse_resolve_entry(text); !entry) return entry.error();
  }
  return {};
}

HttpClient::HttpClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpClient::~HttpClient() = default;

Result<std::unique_ptr<HttpClient>> HttpClient::make(io::Loop& loop,
                                                     const HostServiceOptions& options) {
  auto impl = std::make_unique<Impl>(loop);
  for (const std::string& text : options.resolve) {
    auto entry = parse_resolve_entry(text);
    if (!entry) return entry.error();
    impl->settings.resolve.push_back(std::move(*entry));
  }
  impl->settings.ca_file = options.http_ca_file;
  const char* authorities = std::getenv("SSL_CERT_FILE");
  if (impl->settings.ca_file.empty() && authorities != nullptr) {
    impl->settings.ca_file = authorities;
  }
  impl->settings.response_bytes_max = options.http_response_bytes_max;
  return std::unique_ptr<HttpClient>(new HttpClient(std::move(impl)));
}

uint64_t HttpClient::start(HttpRequest request, Handler handler) {
  if (impl_->waiting->handlers.size() >= kRequestsMax || !impl_->begin()) return 0;
  const uint64_t number = impl_->next++;
  const MonotonicTime deadline = impl_->loop.clock().now() + request.timeout;
  impl_->waiting->handlers.emplace(number, std::move(handler));
  impl_->put({number, false, deadline, std::move(request)});
  return number;
}

void HttpClient::cancel(uint64_t number) {
  if (impl_->waiting->handlers.erase(number) == 0) return;
  impl_->put({number, true, {}, {}});
}

}  // namespace brokkr::workload
