#pragma once

#include <memory>
#include <vector>

#include "base/callback.h"
#include "client/connection.h"
#include "client/jetstream.h"
#include "io/loop.h"
#include "workload/access.h"

namespace brokkr::workload {

// What the streams of the account collect, as it changes: the server tells of each that is made, changed
// or removed, and all are read again then, and now and then. Idle until it is wanted. Loop-confined.
class StreamCatalog {
 public:
  using Changed = Callback<void(std::shared_ptr<const StreamContents>)>;
  // `changed` is called when something is another than before, and first with what there is; with null
  // once it is not wanted any more. The connection outlives the catalog.
  StreamCatalog(io::Loop& loop, client::Connection& connection, Changed changed);
  ~StreamCatalog();
  StreamCatalog(const StreamCatalog&) = delete;
  StreamCatalog& operator=(const StreamCatalog&) = delete;

  void set_wanted(bool is_wanted);

 private:
  void read();
  void on_read(const client::ApiResult<std::vector<client::StreamInfo>>& streams);

  io::Loop& loop_;
  client::Connection& connection_;
  const client::JetStream js_;
  const Changed changed_;
  bool is_wanted_ = false;
  bool is_reading_ = false;
  bool is_stale_ = false;  // something changed while it was being read
  MonotonicTime begun_{};
  Duration took_{};
  std::shared_ptr<const StreamContents> contents_;
  std::vector<std::unique_ptr<client::Subscription>> advisories_;
  std::unique_ptr<client::ReconnectWatch> reconnects_;
  io::Timer next_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

StreamContent content_of(const client::StreamConfig& config);

}  // namespace brokkr::workload
