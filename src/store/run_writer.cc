#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "store/run.h"
#include "store/run_builder.h"
#include "store/run_format.h"

namespace brokkr::store {
namespace {

constexpr size_t kRunWriteBytes = 1 << 20;

class FileRunWriter final : public RunWriter {
 public:
  FileRunWriter(Files& files, Options options)
      : files_(files), options_(std::move(options)), builder_(options_.ids_since_ns) {}
  ~FileRunWriter() override;

  Status start();
  void begin_run(RunOwner owner, Compression compression) override;
  Status add(std::string_view record) override;
  Result<RunInfo> end_run() override;
  Status finish() override;
  uint64_t bytes_written() const override { return offset_ + buffer_.size(); }

 private:
  std::string path() const { return options_.directory + "/" + run_file_name(options_.file); }
  std::string temporary_path() const { return path() + ".tmp"; }
  // Where the next byte goes.
  uint64_t end() const { return offset_ + buffer_.size(); }
  bool has_blocks() const { return compression_ != Compression::None || key_ != nullptr; }
  void append_head();
  void close_block();
  Status write_out(size_t at_least);

  Files& files_;
  const Options options_;
  std::unique_ptr<File> file_;
  std::optional<Error> failure_;
  bool is_finished_ = false;
  RunFileHead head_;
  std::shared_ptr<const FileKey> key_;
  uint64_t offset_ = 0;  // bytes in the file
  std::string buffer_;   // bytes behind them
  std::vector<FileIndexEntry> runs_;

  // The run at hand.
  RunBuilder builder_;
  RunOwner owner_;
  Compression compression_ = Compression::None;
  uint64_t run_offset_ = 0;
  std::string block_;
  size_t blocks_ = 0;
};

FileRunWriter::~FileRunWriter() {
  if (file_ == nullptr || is_finished_) return;
  file_.reset();
  (void)files_.remove(temporary_path());
}

Status FileRunWriter::start() {
  // What an earlier crash left has no name yet, so nothing is lost with it.
  if (files_.exists(temporary_path())) {
    if (const Status status = files_.remove(temporary_path()); !status) return status;
  }
  auto file = files_.open(temporary_path(), OpenMode::Create);
  if (!file) return file.error();
  file_ = std::move(*file);
  head_.number = options_.file;
  head_.salt = secure_seed();
  if (options_.keys != nullptr) {
    key_ = options_.keys->create(run_key_context(head_.number, head_.salt), head_.wrapped_key);
  }
  append_run_file_head(head_, buffer_);
  return {};
}

void FileRunWriter::begin_run(RunOwner owner, Compression compression) {
  CHECK(builder_.count() == 0 && !is_finished_);
  owner_ = std::move(owner);
  compression_ = compression;
  blocks_ = 0;
}

void FileRunWriter::append_head() {
  run_offset_ = end();
  std::string plain;
  append_run_head({owner_.stream, has_blocks(), owner_.account, owner_.name}, plain);
  append_section(SectionKind::RunHead, head_.salt, run_offset_, plain, Compression::None,
                 key_.get(), buffer_);
}

void FileRunWriter::close_block() {
  if (block_.empty()) return;
  const uint64_t offset = end();
  append_section(SectionKind::Block, head_.salt, offset, block_, compression_, key_.get(), buffer_);
  builder_.add_block(offset, static_cast<uint32_t>(end() - offset));
  ++blocks_;
  block_.clear();
}

Status FileRunWriter::write_out(size_t at_least) {
  if (failure_) return *failure_;
  if (buffer_.size() < at_least || buffer_.empty()) return {};
  if (Status status = file_->write_at(offset_, buffer_); !status) {
    failure_ = status.error();
    return status;
  }
  offset_ += buffer_.size();
  buffer_.clear();
  return {};
}

Status FileRunWriter::add(std::string_view record) {
  if (failure_) return *failure_;
  const ParsedRecord parsed = parse_record(record, false);
  if (parsed.damage != RecordDamage::None || parsed.bytes != record.size()) {
    return Error{Errc::Corrupt, "record of " + std::to_string(record.size()) + " bytes damaged"};
  }
  if (builder_.count() > 0 && parsed.record.seq <= builder_.last_seq()) {
    return Error{Errc::InvalidArgument, "sequence " + std::to_string(parsed.record.seq) +
                                            " after " + std::to_string(builder_.last_seq())};
  }
  if (builder_.count() == 0) append_head();
  if (has_blocks()) {
    if (block_.size() + record.size() > kRunBlockBytes) close_block();
    builder_.add(parsed.record, block_position(blocks_, block_.size()));
    block_.append(record);
  } else {
    builder_.add(parsed.record, bare_position(end(), record_check(record)));
    buffer_.append(record);
  }
  return write_out(kRunWriteBytes);
}

Result<RunInfo> FileRunWriter::end_run() {
  if (failure_) return *failure_;
  RunInfo none;
  none.file = options_.file;
  if (builder_.count() == 0) return none;
  close_block();
  const std::unique_ptr<RunIndex> index = builder_.finish();
  index->owner = std::move(owner_);
  RunInfo& info = index->info;
  info.file = options_.file;
  info.offset = run_offset_;
  info.footer_offset = end();
  std::string plain;
  append_footer(*index, plain);
  append_section(SectionKind::Footer, head_.salt, info.footer_offset, plain, Compression::None,
                 key_.get(), buffer_);
  info.footer_bytes = static_cast<uint32_t>(end() - info.footer_offset);
  runs_.push_back({index->owner.stream, info});
  if (const Status status = write_out(kRunWriteBytes); !status) return status.error();
  return info;
}

Status FileRunWriter::finish() {
  CHECK(builder_.count() == 0 && !is_finished_);
  head_.index_offset = end();
  std::string plain;
  append_file_index(runs_, plain);
  append_section(SectionKind::FileIndex, head_.salt, head_.index_offset, plain, Compression::None,
                 key_.get(), buffer_);
  append_run_file_tail(head_, buffer_);
  if (Status status = write_out(0); !status) return status;
  if (Status status = file_->sync(); !status) return status;
  if (Status status = files_.rename(temporary_path(), path()); !status) return status;
  is_finished_ = true;
  return files_.sync_directory(options_.directory);
}

}  // namespace

Result<std::unique_ptr<RunWriter>> RunWriter::create(Files& files, Options options) {
  auto writer = std::make_unique<FileRunWriter>(files, std::move(options));
  if (const Status status = writer->start(); !status) return status.error();
  return std::unique_ptr<RunWriter>(std::move(writer));
}

}  // namespace brokkr::store
