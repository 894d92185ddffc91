#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/consumer_store.h"

// What a stream backup holds once the S2 framing is off. Version 2 (nats-server 2.15) is a list of
// entries, written and read here; version 1 is a tar file of nats-server's store directory, read only.
// Names in an archive say what an entry is; they are never used as paths.
namespace brokkr::jetstream {

// One message in an archive.
struct ArchivedMessage {
  uint64_t seq = 0;
  int64_t timestamp_ns = 0;
  std::string_view subject;
  std::string_view headers;
  std::string_view body;
};

// Where what is read goes. An error ends the reading.
class ArchiveSink {
 public:
  virtual ~ArchiveSink() = default;
  // The stream's state, JSON with StreamState's members. Version 2 only; before all else.
  virtual Status on_state(std::string_view json) = 0;
  // {"config":…,"state":…} in version 2, before the messages. `state` is null then.
  virtual Status on_consumer(std::string_view name, std::string_view json,
                             const store::ConsumerState* state) = 0;
  // Ascending by sequence.
  virtual Status on_message(const ArchivedMessage& message) = 0;
};

// Appends the parts of a version 2 archive to `out`.
void begin_archive(std::string& out);
void add_archive_file(std::string_view name, int64_t timestamp_ns, std::string_view bytes, std::string& out);
void add_archive_message(const ArchivedMessage& message, std::string& out);
void end_archive(std::string& out);

// Reads either version, in pieces of any size. Needs memory for one message (version 2) or one block
// of nats-server's store (version 1). Loop-confined.
class ArchiveReader {
 public:
  virtual ~ArchiveReader() = default;
  // Corrupt when the bytes are no archive, LimitExceeded when a part is too large, or the sink's error.
  virtual Status add(std::string_view bytes) = 0;
  // Corrupt when the archive is not complete.
  virtual Status finish() = 0;
  static std::unique_ptr<ArchiveReader> make(ArchiveSink& sink);
};

}  // namespace brokkr::jetstream
