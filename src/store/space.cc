// What the store does about a full disk: it looks again until there is room, and gives back what
// nothing needs any more.
#include "store/checkpoint.h"
#include "store/store_impl.h"

namespace brokkr::store {
namespace {

constexpr Duration kSeekSpace = std::chrono::milliseconds(500);
// Less log than this is not worth a checkpoint.
constexpr uint64_t kLogWorthMin = 128 << 10;

}  // namespace

void Store::Impl::seek_space_later(Store& store) {
  if (is_seeking_space) return;
  is_seeking_space = true;
  environment.after(kSeekSpace, [this, &store, is_alive = alive] {
    if (!*is_alive) return;
    is_seeking_space = false;
    seek_space(store);
  });
}

// Runs without messages go when two catalogs are without them, log files when two catalogs stand
// for them.
void Store::Impl::seek_space(Store& store) {
  if (failure != nullptr || wal == nullptr) return;
  look_at_free_bytes();
  if (!is_short_of_space && !wal->is_full()) return;
  seek_space_later(store);
  // A checkpoint waits for the log. Else one of the two at a time: a new log file would take all
  // the room there is before it fails, and the checkpoint's with it.
  const bool is_log_waiting = wal->durable() < wal->appended();
  const bool is_worth_it = !doomed.empty() || wal->bytes_since(previous_catalog_lsn) >= kLogWorthMin;
  if (!is_log_waiting && (checkpoint != nullptr || (is_worth_it && !is_retrying))) {
    if (checkpoint != nullptr) return;
    checkpoint_waiters.push_back([](const Status&) {});
    checkpoint_if_due(store);
  } else if (wal->is_full()) {
    wal->retry_space();
  }
}

// What the log holds has to fit in once more to be moved out of it.
void Store::Impl::look_at_free_bytes() {
  looked_lsn = wal->appended();
  const auto free = environment.files.free_bytes(options.directory);
  is_short_of_space = free && *free < options.free_bytes_min + wal->bytes_since(catalog_lsn);
}

void Store::Impl::watch_free_bytes(Store& store) {
  if (wal->bytes_since(looked_lsn) < options.checkpoint_bytes / 32) return;
  look_at_free_bytes();
  if (is_short_of_space) seek_space_later(store);
}

}  // namespace brokkr::store
