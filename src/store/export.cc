#include <utility>

#include "base/log.h"
#include "store/inspect.h"
#include "store/overlay_files.h"
#include "store/store.h"

namespace brokkr::store {
namespace {

class InlineExecutor final : public Executor {
 public:
  void run(Callback<void()> work, Callback<void()> done) override {
    work();
    done();
  }
};

// Keeps warnings and errors.
class ListLog final : public Log {
 public:
  explicit ListLog(std::vector<std::string>& lines) : lines_(lines) {}
  void write(LogLevel level, std::string_view text) override {
    if (level <= LogLevel::Warn) lines_.emplace_back(text);
  }
  Status reopen() override { return {}; }
  void set_level(LogLevel) override {}

 private:
  std::vector<std::string>& lines_;
};

// Opens the store over files that keep every change to themselves, and calls `use` with it.
Status with_store(Files& files, const std::string& directory, const StoreKeys& keys,
                  std::vector<std::string>& warnings, FunctionRef<Status(Store&)> use) {
  if (auto listed = files.list(directory); !listed) return listed.error();
  OverlayFiles overlay(files);
  ListLog log(warnings);
  InlineExecutor executor;
  SystemClock clock;
  Store::Options options;
  options.directory = directory;
  options.cipher = keys.cipher;
  options.key = keys.key;
  options.previous_key = keys.previous_key;
  auto store = Store::open(
      options, {overlay, executor, executor, clock, log, [](Duration, const Callback<void()>&) {}});
  if (!store) return store.error();
  return use(**store);
}

// Ends behind the last message; NotFound never.
Status read_all(Stream& stream, FunctionRef<void(const Record&)> visit) {
  const SubjectFilter all(stream, {});
  uint64_t seq = stream.first_seq();
  while (seq <= stream.last_seq()) {
    const auto record = stream.load_next(all, seq);
    if (!record && record.error().code == Errc::NotFound) break;
    if (!record) return record.error();
    visit(*record);
    seq = record->seq + 1;
  }
  return {};
}

void list_lost(const Stream& stream, VerifyReport& report) {
  const std::vector<uint64_t>& lost = stream.lost();
  for (size_t first = 0, next = 0; first < lost.size(); first = next) {
    next = first + 1;
    while (next < lost.size() && lost[next] == lost[next - 1] + 1) ++next;
    std::string text = "stream " + stream.options().account + " " + stream.options().name;
    text += next == first + 1 ? ": message " + std::to_string(lost[first]) + " is lost"
                              : ": messages " + std::to_string(lost[first]) + " to " +
                                    std::to_string(lost[next - 1]) + " are lost";
    report.damage.push_back(std::move(text));
  }
}

}  // namespace

Status verify_streams(Files& files, const std::string& directory, const StoreKeys& keys,
                      VerifyReport& report) {
  std::vector<std::string> warnings;
  const auto use = [&](Store& store) -> Status {
    for (Stream* const stream : store.streams()) {
      if (Status read = read_all(*stream, [](const Record&) {}); !read) return read;
      list_lost(*stream, report);
    }
    return {};
  };
  const size_t damage_before = report.damage.size();
  Status status = with_store(files, directory, keys, warnings, use);
  // They name the files.
  if (report.damage.size() > damage_before) {
    report.notes.insert(report.notes.end(), warnings.begin(), warnings.end());
  }
  return status;
}

Result<ExportReport> visit_messages(Files& files, const std::string& directory,
                                    const StoreKeys& keys, std::string_view account,
                                    std::string_view name, FunctionRef<void(const Record&)> visit) {
  ExportReport report;
  const auto use = [&](Store& store) -> Status {
    Stream* const stream = store.find_stream(account, name);
    if (stream == nullptr) {
      return Error{Errc::NotFound,
                   "no stream " + std::string(name) + " in account " + std::string(account)};
    }
    const Status read = read_all(*stream, [&](const Record& record) {
      visit(record);
      ++report.messages;
    });
    report.lost = stream->lost();
    return read;
  };
  if (const Status status = with_store(files, directory, keys, report.warnings, use); !status)
    return status.error();
  return report;
}

Result<ExportReport> visit_streams(Files& files, const std::string& directory,
                                   const StoreKeys& keys, FunctionRef<void(Stream&)> visit) {
  ExportReport report;
  const auto use = [&](Store& store) -> Status {
    for (Stream* const stream : store.streams())
      visit(*stream);
    return {};
  };
  if (const Status status = with_store(files, directory, keys, report.warnings, use); !status)
    return status.error();
  return report;
}

}  // namespace brokkr::store
