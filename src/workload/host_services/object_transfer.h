#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/callback.h"
#include "base/sha256.h"
#include "client/object_store.h"
#include "client/ordered_consumer.h"
#include "client/stream_publisher.h"

namespace brokkr::workload {

// The bytes of one object as its reader asks for them: of what was not asked for yet only a window is
// here. Digest and size are checked before the end is told. Loop-confined.
class ObjectDownload {
 public:
  // Gives at most so many bytes; none at the end.
  using ReadHandler = client::ApiHandler<std::string>;
  static constexpr size_t kReadBytesMax = 1U << 20;

  ObjectDownload(const client::ObjectStore& store, client::ObjectInfo info);
  ObjectDownload(const ObjectDownload&) = delete;
  ObjectDownload& operator=(const ObjectDownload&) = delete;

  const client::ObjectInfo& info() const { return info_; }
  bool is_reading() const { return static_cast<bool>(reader_); }
  // One read at a time. The handler may destroy the download.
  void read(ReadHandler handler);
  // Nobody waits for the read any more; what it would have given stays.
  void drop_read() { reader_ = {}; }

 private:
  void start();
  void on_chunk(const client::Message& message, const client::Delivery& delivery);
  void end(std::optional<client::ApiError> failure);
  void check();
  void give();

  const client::ObjectStore store_;
  const client::ObjectInfo info_;
  std::unique_ptr<client::OrderedConsumer> consumer_;
  ReadHandler reader_;
  std::string buffer_;
  Sha256 digest_;
  uint64_t received_ = 0;
  bool is_started_ = false;
  bool is_paused_ = false;
  bool is_ended_ = false;
  std::optional<client::ApiError> failure_;
};

// One object on its way into a store, in pieces as its writer gives them. An object of that name is
// replaced when everything is there; what an upload that is not committed has stored is removed again.
// Loop-confined.
class ObjectUpload {
 public:
  ObjectUpload(const client::ObjectStore& store, client::ObjectMeta meta);
  ~ObjectUpload();
  ObjectUpload(const ObjectUpload&) = delete;
  ObjectUpload& operator=(const ObjectUpload&) = delete;

  bool is_busy() const;
  // How often functions have passed the object on, for those it triggers.
  void set_hops(std::string hops);
  // Called back when there is room for more. One write at a time.
  void write(std::string bytes, client::ApiHandler<client::Done> handler);
  // After it nothing is written.
  void commit(client::ApiHandler<client::ObjectInfo> handler);
  // Nobody waits for the write or commit any more.
  void drop_handler();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace brokkr::workload
