#pragma once

#include <memory>
#include <string>
#include <vector>

#include "store/catalog.h"
#include "store/run.h"
#include "store/segment.h"
#include "store/store_impl.h"

namespace brokkr::store {

// Empties the log into run files: what streams hold in memory becomes runs, small and thin runs are
// merged into new ones, a catalog names the result; then the log before it is free. `begin` and
// `finish` run on the store's thread, `work` in the background in between; it touches nothing but
// this object and the disk.
class Checkpoint {
 public:
  explicit Checkpoint(Store::Impl& store);
  ~Checkpoint();

  // Takes the picture the catalog will show.
  void begin();
  // Writes it. Blocks.
  void work();
  // Puts the result to use; `status` says how `work` went.
  void finish();
  const Status& status() const { return status_; }

 private:
  // An old run that is written anew.
  struct Source {
    std::shared_ptr<RunFile> file;
    RunInfo info;
    std::vector<uint64_t> removed;
  };
  // A new run: what goes into it, in this order.
  struct Job {
    uint32_t stream = 0;
    RunOwner owner;
    Compression compression = Compression::None;
    std::vector<Source> sources;
    std::vector<MemorySegment::Image> images;
    uint64_t bytes = 0;  // roughly
    RunInfo result;
  };
  // A stream's entry: runs before and after those being written are encoded already.
  struct Entry {
    uint32_t stream = 0;
    std::string head;
    std::vector<std::string> runs;  // an empty one is that of the next job
    std::vector<size_t> jobs;
  };

  void add_stream(Stream& stream);
  void plan(Stream& stream, Entry& entry);
  void add_job(Stream& stream, Entry& entry, size_t first, size_t last, bool with_memory);
  Status write_runs();
  Status write_run(RunWriter& writer, Job& job);
  Status write_source(RunWriter& writer, const Source& source);
  Status write_image();
  void give_up();
  void place_result(Stream& stream, const Job& job);

  Store::Impl& store_;
  uint64_t number_ = 0;
  Lsn lsn_ = 0;
  uint64_t first_file_ = 0;
  uint64_t next_file_ = 0;
  int64_t now_ns_ = 0;
  std::vector<Job> jobs_;
  std::vector<Entry> entries_;
  CatalogImage image_;
  Status status_;
};

}  // namespace brokkr::store
