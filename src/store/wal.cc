#include "store/wal.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "store/wal_files.h"
#include "store/wal_format.h"
#include "store/wal_job.h"
#include "store/wal_replay.h"

namespace brokkr::store {
namespace {

// A group up to this size is written by the caller where no sync is asked for: the kernel only
// copies it.
constexpr size_t kDirectWriteMax = 256 << 10;
// Buffers that grew beyond this are given back.
constexpr size_t kBufferKept = 4 << 20;
constexpr uint64_t kMarkBytes = 64 << 10;

uint64_t random_number() {
  uint8_t bytes[8];
  fill_secure(bytes);
  return load_le<uint64_t>(reinterpret_cast<const char*>(bytes));
}

}  // namespace

// Brings groups to the disk: which file, by whom, and what follows from a failure.
class Wal::Writer {
 public:
  Writer(Wal& wal, Files& files, Executor& executor, Events events, Log& log)
      : wal_(wal),
        files_(files),
        executor_(executor),
        events_(std::move(events)),
        log_(log),
        spares_(files, executor, wal.options_, log, [this] {
          update_full();
          pump();
        }) {}
  ~Writer() { *is_alive_ = false; }

  void start(WalReplay replay);
  void commit() {
    is_commit_due_ = true;
    pump();
  }
  void sync_now();
  void retry_space();
  void release_before(Lsn lsn);
  uint64_t bytes_since(Lsn lsn) const;

 private:
  // A group that takes no more frames.
  struct ClosedGroup {
    std::string bytes;
    FrameStamp stamp;
    Lsn last_lsn = 0;
    uint32_t frames = 0;
  };

  void pump();
  void close_group();
  bool start_group();
  bool begin_file(WalJob& job, uint64_t room);
  void submit(const std::shared_ptr<WalJob>& job);
  void send(std::shared_ptr<WalJob> job);
  void finish(const std::shared_ptr<WalJob>& job);
  void advance(WalJob& job);
  void finish_sync(const Status& status, uint64_t written);
  void fail(const Error& error);
  void run(Callback<void()> work, Callback<void()> done);
  void update_full();
  bool is_synced_by_group() const { return wal_.options_.sync == SyncMode::Always; }

  Wal& wal_;
  Files& files_;
  Executor& executor_;
  Events events_;
  Log& log_;
  WalFiles spares_;

  // The file being filled; null before the first group and until it has been begun.
  std::shared_ptr<File> file_;
  WalFile active_;
  std::shared_ptr<const FileKey> key_;
  uint64_t offset_ = 0;
  uint64_t log_id_ = 0;
  uint64_t next_number_ = 1;
  Lsn previous_lsn_ = 0;  // what the next file says of those before it

  ClosedGroup closed_;
  std::string buffer_;  // kept for the group after the next
  bool is_commit_due_ = false;
  bool is_pumping_ = false;
  bool is_in_flight_ = false;
  std::shared_ptr<WalJob> stalled_;  // waits for room on the disk
  bool is_sync_in_flight_ = false;
  uint64_t written_ = 0;  // groups written to this file, and of those synced
  uint64_t synced_ = 0;
  uint64_t total_bytes_ = 0;
  std::deque<std::pair<Lsn, uint64_t>> marks_;  // bytes up to an lsn
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);
};

void Wal::Writer::start(WalReplay replay) {
  log_id_ = replay.log_id != 0 ? replay.log_id : random_number();
  next_number_ = replay.next_number;
  previous_lsn_ = replay.previous_lsn;
  for (WalFile& file : replay.files) {
    file.end_lsn = std::min(file.end_lsn, replay.next_lsn);
    spares_.retain(std::move(file));
  }
  marks_.assign(replay.bytes_up_to.begin(), replay.bytes_up_to.end());
  if (!marks_.empty()) total_bytes_ = marks_.back().second;
  spares_.adopt_spares(replay.spares);
  spares_.top_up();
}

void Wal::Writer::update_full() {
  const bool was_full = wal_.is_full_;
  wal_.is_full_ = stalled_ != nullptr || spares_.is_out_of_space();
  if (wal_.is_full_ && !was_full && events_.full) events_.full();
}

// Starts whatever may be started. What `durable` appends and commits meanwhile is taken by the loop
// that is running.
void Wal::Writer::pump() {
  if (is_pumping_) return;
  is_pumping_ = true;
  while (!wal_.failure_ && !is_in_flight_ && !stalled_) {
    if (closed_.bytes.empty()) {
      if (!is_commit_due_ || wal_.group_.empty()) break;
      close_group();
    }
    if (!start_group()) break;
  }
  if (wal_.failure_) {
    wal_.group_.clear();
    wal_.open_frame_ = SIZE_MAX;
  }
  is_pumping_ = false;
}

void Wal::Writer::close_group() {
  is_commit_due_ = false;
  wal_.seal();
  std::string note;
  if (events_.closing_group) events_.closing_group(note);
  const GroupEnd end{wal_.group_first_lsn_, wal_.open_batch_, wal_.group_frames_, wal_.group_chain_};
  char* body = nullptr;
  closed_.last_lsn = wal_.append(FrameType::GroupEnd, 0, kGroupEndBytes + note.size(), body);
  encode_group_end(end, body);
  if (!note.empty()) std::memcpy(body + kGroupEndBytes, note.data(), note.size());
  wal_.seal();
  closed_.frames = wal_.group_frames_;
  closed_.stamp = {wal_.salt_, wal_.mask_};
  closed_.bytes = std::exchange(wal_.group_, std::move(buffer_));
  wal_.group_.clear();
  buffer_ = {};
  wal_.group_frames_ = 0;
  wal_.group_chain_ = 0;
  wal_.writing_bytes_ = closed_.bytes.size();
}

// False when there is no file to write to yet.
bool Wal::Writer::start_group() {
  const uint64_t room =
      closed_.bytes.size() + (wal_.options_.keys != nullptr ? kEncryptedFrameGrowth * closed_.frames : 0);
  auto job = std::make_shared<WalJob>();
  if (!file_ || offset_ + room > active_.head.file_bytes) {
    if (!begin_file(*job, room)) return false;
  } else {
    job->file = file_;
  }
  job->offset = offset_;
  job->bytes = std::move(closed_.bytes);
  closed_.bytes.clear();
  job->last_lsn = closed_.last_lsn;
  job->must_sync = is_synced_by_group();
  job->key = key_;
  job->stamp = closed_.stamp;
  submit(job);
  return true;
}

static void restamp_frames(std::string& group, size_t end, FrameStamp from, FrameStamp to) {
  for (size_t at = 0; at < end;) {
    restamp_frame(group.data() + at, from, to);
    at += kFrameHeaderBytes + pad8(load_le<uint32_t>(group.data() + at + 16));
  }
}

bool Wal::Writer::begin_file(WalJob& job, uint64_t room) {
  const Options& options = wal_.options_;
  WalFile begun;
  begun.head.file_bytes = options.file_bytes;
  if (kWalHeadBytes + room > options.file_bytes) {
    begun.head.file_bytes = pad8(kWalHeadBytes + room);
  } else if (std::optional<std::string> spare = spares_.take_spare()) {
    job.spare_path = std::move(*spare);
  } else {
    spares_.top_up();
    return false;
  }
  begun.head.log_id = log_id_;
  begun.head.number = next_number_++;
  begun.head.epoch = random_number();
  begun.head.first_lsn = load_le<uint64_t>(closed_.bytes.data() + 8);
  begun.head.previous_lsn = previous_lsn_;
  begun.head.synced_by_group = is_synced_by_group();
  key_ = options.keys == nullptr
             ? nullptr
             : options.keys->create(wal_key_context(begun.head), begun.head.wrapped_key);
  begun.name = wal_file_name(begun.head.number);
  job.head.resize(kWalHeadBytes);
  encode_wal_head(begun.head, job.head.data());
  job.path = spares_.path(begun.name);
  job.directory = options.directory;
  if (options.sync == SyncMode::Interval && written_ != synced_) job.sync_before = file_;

  const FrameStamp stamp = frame_stamp(begun.head.epoch);
  restamp_frames(closed_.bytes, closed_.bytes.size(), closed_.stamp, stamp);
  restamp_frames(wal_.group_, std::min(wal_.open_frame_, wal_.group_.size()), {wal_.salt_, wal_.mask_}, stamp);
  closed_.stamp = stamp;
  wal_.salt_ = stamp.salt;
  wal_.mask_ = stamp.mask;
  if (file_) {
    active_.end_lsn = begun.head.first_lsn;
    spares_.retain(std::move(active_));
  }
  active_ = std::move(begun);
  file_.reset();
  offset_ = kWalHeadBytes;
  spares_.top_up();
  return true;
}

void Wal::Writer::run(Callback<void()> work, Callback<void()> done) {
  executor_.run(std::move(work), [alive = is_alive_, done = std::move(done)] {
    if (*alive) done();
  });
}

void Wal::Writer::submit(const std::shared_ptr<WalJob>& job) {
  if (!job->must_sync && job->head.empty() && job->bytes.size() <= kDirectWriteMax) {
    job->run(files_);
    finish(job);
  } else {
    send(job);
  }
}

void Wal::Writer::send(std::shared_ptr<WalJob> job) {
  is_in_flight_ = true;
  run([files = &files_, job] { job->run(*files); },
      [this, job] {
        is_in_flight_ = false;
        finish(job);
        pump();
      });
}

void Wal::Writer::finish(const std::shared_ptr<WalJob>& job) {
  if (wal_.failure_) return;
  if (!job->status && job->is_final) return fail(job->status.error());
  if (!job->status) {
    log_.warn("store: the log waits for room: " + job->status.error().text);
    stalled_ = job;
    update_full();
    return;
  }
  advance(*job);
  update_full();
  if (events_.durable) events_.durable(wal_.durable_);
}

void Wal::Writer::advance(WalJob& job) {
  file_ = std::move(job.file);
  offset_ += job.bytes.size();
  if (!job.head.empty()) written_ = synced_ = 0;
  ++written_;
  if (job.must_sync || !job.head.empty()) synced_ = written_;
  previous_lsn_ = job.last_lsn;
  wal_.durable_ = job.last_lsn;
  wal_.writing_bytes_ = 0;
  total_bytes_ += job.bytes.size();
  if (marks_.size() > 1 && total_bytes_ - marks_[marks_.size() - 2].second < kMarkBytes) marks_.pop_back();
  marks_.emplace_back(job.last_lsn, total_bytes_);
  if (job.bytes.capacity() <= kBufferKept) {
    buffer_ = std::move(job.bytes);
    buffer_.clear();
  }
}

void Wal::Writer::retry_space() {
  if (wal_.failure_) return;
  spares_.retry_space();
  if (stalled_) send(std::exchange(stalled_, nullptr));
}

void Wal::Writer::sync_now() {
  if (wal_.failure_ || is_sync_in_flight_ || !file_ || written_ == synced_) return;
  is_sync_in_flight_ = true;
  auto status = std::make_shared<Status>();
  run([file = file_, status] { *status = file->sync(); },
      [this, status, number = active_.head.number, written = written_] {
        is_sync_in_flight_ = false;
        if (!*status) return fail(status->error());
        if (number == active_.head.number) synced_ = std::max(synced_, written);
      });
}

void Wal::Writer::fail(const Error& error) {
  if (wal_.failure_) return;
  wal_.failure_ = std::make_unique<Error>(error);
  closed_ = {};
  stalled_.reset();
  log_.error("store: the log cannot be written any more: " + error.text);
  if (events_.failed) events_.failed(*wal_.failure_);
}

void Wal::Writer::release_before(Lsn lsn) {
  spares_.release_before(lsn);
  while (marks_.size() > 1 && marks_[1].first < lsn) marks_.pop_front();
}

uint64_t Wal::Writer::bytes_since(Lsn lsn) const {
  const auto after = std::upper_bound(marks_.begin(), marks_.end(), lsn,
                                      [](Lsn a, const auto& mark) { return a < mark.first; });
  return wal_.pending_bytes() + total_bytes_ - (after == marks_.begin() ? 0 : std::prev(after)->second);
}

Wal::Wal(Files& files, Executor& executor, Options options, Events events, Log& log)
    : options_(std::move(options)),
      writer_(std::make_unique<Writer>(*this, files, executor, std::move(events), log)) {}

Wal::~Wal() = default;

Result<std::unique_ptr<Wal>> Wal::open(Files& files, Executor& executor, Options options, Lsn from,
                                       FunctionRef<void(const Frame&)> visit, Events events, Log& log,
                                       Recovery& recovery) {
  if (Status made = files.make_directory(options.directory); !made) return made.error();
  Result<WalReplay> replay = replay_wal(files, options, from, visit, recovery);
  if (!replay) return replay.error();
  for (const std::string& note : recovery.notes) log.warn("store: log: " + note);
  std::unique_ptr<Wal> wal(new Wal(files, executor, std::move(options), std::move(events), log));
  wal->next_lsn_ = replay->next_lsn;
  wal->durable_ = wal->appended();
  recovery.last_lsn = wal->appended();
  wal->writer_->start(std::move(*replay));
  return wal;
}

Lsn Wal::append(FrameType type, uint32_t stream, std::initializer_list<std::string_view> body) {
  size_t bytes = 0;
  for (const std::string_view part : body) bytes += part.size();
  const size_t at = begin_frame(bytes);
  // Resizing once for all would fill with zeroes what is written over at once.
  for (const std::string_view part : body) group_.append(part);
  group_.append(pad8(bytes) - bytes, '\0');
  return end_frame(at, type, stream, bytes);
}

Lsn Wal::append(FrameType type, uint32_t stream, size_t body_bytes, char*& body) {
  const size_t at = begin_frame(body_bytes);
  group_.append(pad8(body_bytes), '\0');
  body = group_.data() + at + kFrameHeaderBytes;
  return end_frame(at, type, stream, body_bytes);
}

// Makes room for the header; the body follows.
size_t Wal::begin_frame(size_t body_bytes) {
  CHECK(body_bytes <= UINT32_MAX / 2);
  seal();
  const size_t at = group_.size();
  if (at == 0) group_first_lsn_ = next_lsn_;
  group_.append(kFrameHeaderBytes, '\0');
  return at;
}

Lsn Wal::end_frame(size_t at, FrameType type, uint32_t stream, size_t body_bytes) {
  char* const frame = group_.data() + at;
  const Lsn lsn = next_lsn_++;
  store_le(frame + 8, lsn);
  store_le(frame + 16, static_cast<uint32_t>(body_bytes));
  store_le(frame + 20, stream);
  store_le(frame + 28, static_cast<uint32_t>(type));
  if (type == FrameType::BatchBegin) open_batch_ = lsn;
  if (type == FrameType::BatchCommit) open_batch_ = 0;
  open_frame_ = at;
  return lsn;
}

void Wal::seal() {
  if (open_frame_ == SIZE_MAX) return;
  char* const at = group_.data() + std::exchange(open_frame_, SIZE_MAX);
  FrameHeader header;
  header.lsn = load_le<uint64_t>(at + 8);
  header.body_bytes = load_le<uint32_t>(at + 16);
  header.stream = load_le<uint32_t>(at + 20);
  header.type = static_cast<FrameType>(at[28]);
  header.body_crc = frame_body_crc(header.type, false, {at + kFrameHeaderBytes, header.body_bytes});
  group_chain_ = chain_frame(group_chain_, seal_frame(at, header, {salt_, mask_}));
  ++group_frames_;
}

void Wal::commit() { writer_->commit(); }
void Wal::sync_now() { writer_->sync_now(); }
void Wal::retry_space() { writer_->retry_space(); }
uint64_t Wal::bytes_since(Lsn lsn) const { return writer_->bytes_since(lsn); }
void Wal::release_before(Lsn lsn) { writer_->release_before(lsn); }

}  // namespace brokkr::store
