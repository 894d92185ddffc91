#include "workload/stream_catalog.h"

#include <algorithm>

namespace brokkr::workload {
namespace {

constexpr Duration kReadSoon = std::chrono::milliseconds(10);
constexpr Duration kReadAgain = std::chrono::seconds(30);
constexpr Duration kReadRetry = std::chrono::seconds(1);

}  // namespace

StreamContent content_of(const client::StreamConfig& config) {
  StreamContent content;
  content.subjects = config.subjects;
  const auto add = [&content](const client::StreamSource& source) {
    content.sources.push_back(source.name);
    content.is_foreign = content.is_foreign || source.external.has_value();
  };
  if (config.mirror) add(*config.mirror);
  for (const client::StreamSource& source : config.sources) add(source);
  return content;
}

StreamCatalog::StreamCatalog(io::Loop& loop, client::Connection& connection, Changed changed)
    : loop_(loop), connection_(connection), js_(connection), changed_(std::move(changed)),
      next_(loop, [this] { read(); }) {}

StreamCatalog::~StreamCatalog() = default;

void StreamCatalog::set_wanted(bool is_wanted) {
  if (is_wanted_ == is_wanted) return;
  is_wanted_ = is_wanted;
  advisories_.clear();
  reconnects_.reset();
  next_.stop();
  if (!is_wanted) {
    if (std::exchange(contents_, nullptr) != nullptr) changed_(nullptr);
    return;
  }
  const auto look = [this] {
    is_stale_ = is_reading_;
    // A burst of changes is read once, and reading takes no more than half of the time.
    if (!is_reading_) next_.start(std::max(kReadSoon, took_));
  };
  for (const char* what : {"CREATED", "UPDATED", "DELETED"}) {
    auto heard = connection_.subscribe(std::string("$JS.EVENT.ADVISORY.STREAM.") + what + ".>",
                                       [look](const client::Message&) { look(); }, {});
    if (heard) advisories_.push_back(std::move(*heard));
  }
  reconnects_ = connection_.watch_reconnects([look] { look(); });
  read();
}

void StreamCatalog::read() {
  if (is_reading_) return;
  is_reading_ = true;
  is_stale_ = false;
  begun_ = loop_.clock().now();
  js_.list_streams("", [this, alive = std::weak_ptr(alive_)](const auto& streams) {
    if (!alive.expired()) on_read(streams);
  });
}

void StreamCatalog::on_read(const client::ApiResult<std::vector<client::StreamInfo>>& streams) {
  is_reading_ = false;
  if (!is_wanted_) return;
  took_ = loop_.clock().now() - begun_;
  next_.start(!streams ? kReadRetry : is_stale_ ? std::max(kReadSoon, took_) : kReadAgain);
  if (!streams) return;
  StreamContents contents;
  for (const client::StreamInfo& stream : *streams) contents[stream.config.name] = content_of(stream.config);
  if (contents_ != nullptr && *contents_ == contents) return;
  contents_ = std::make_shared<const StreamContents>(std::move(contents));
  changed_(contents_);
}

}  // namespace brokkr::workload
