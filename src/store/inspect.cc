#include "store/inspect.h"

#include <algorithm>
#include <utility>

#include "store/catalog.h"
#include "store/overlay_files.h"
#include "store/run.h"
#include "store/run_verify.h"
#include "store/wal_replay.h"

namespace brokkr::store {
namespace {

class StoreVerifier {
 public:
  StoreVerifier(Files& files, const std::string& directory, Keyring* keys)
      : files_(files), directory_(directory), keys_(keys) {}

  Status verify() {
    const auto entries = files_.list(directory_);
    if (!entries) return entries.error();
    for (const DirectoryEntry& entry : *entries) {
      if (entry.is_directory || entry.name == "lock") continue;
      const Status status = parse_catalog_file_name(entry.name) != 0 ? verify_catalog(entry)
                                                                     : note_unknown("", entry);
      if (!status) return status;
    }
    if (const Status status = verify_runs(); !status) return status;
    return verify_log();
  }

  VerifyReport report;

 private:
  Status note_unknown(const std::string& folder, const DirectoryEntry& entry) {
    const bool is_temporary = entry.name.ends_with(".tmp");
    report.notes.push_back(
        folder + entry.name +
        (is_temporary ? ": left by a write that was cut short" : ": no file of a store"));
    return {};
  }

  // A wrong key says nothing about the bytes: it ends the check.
  Status take_error(const std::string& file, const Error& error) {
    if (error.code == Errc::PermissionDenied) return error;
    report.damage.push_back(file + ": " + error.text);
    return {};
  }

  Status verify_catalog(const DirectoryEntry& entry) {
    ++report.files;
    auto bytes = read_file(files_, directory_ + "/" + entry.name);
    if (!bytes) return take_error(entry.name, bytes.error());
    report.bytes += bytes->size();
    CatalogImage image;
    std::vector<std::string> damage;
    const Status status = parse_catalog(std::make_shared<const std::string>(std::move(*bytes)),
                                        parse_catalog_file_name(entry.name), keys_, image, &damage);
    if (!status && damage.empty()) return take_error(entry.name, status.error());
    for (const std::string& place : damage)
      report.damage.push_back(entry.name + " " + place);
    if (status && damage.empty()) log_from_ = std::min(log_from_, image.lsn + 1);
    return {};
  }

  Status verify_runs() {
    const std::string folder = directory_ + "/runs";
    const auto entries = files_.list(folder);
    if (!entries)
      return entries.error().code == Errc::NotFound ? Status() : Status(entries.error());
    for (const DirectoryEntry& entry : *entries) {
      if (entry.is_directory) continue;
      const uint64_t number = parse_run_file_name(entry.name);
      const Status status =
          number == 0 ? note_unknown("runs/", entry) : verify_run(folder, number, entry.name);
      if (!status) return status;
    }
    return {};
  }

  Status verify_run(const std::string& folder, uint64_t number, const std::string& name) {
    ++report.files;
    const auto found = verify_run_file(files_, folder, number, keys_);
    if (!found) return take_error("runs/" + name, found.error());
    report.bytes += found->bytes;
    report.messages += found->messages;
    for (const RunFinding& it : found->findings) {
      std::string text = "runs/" + name + " at " + std::to_string(it.offset);
      if (it.stream != 0) text += ", stream " + std::to_string(it.stream);
      report.damage.push_back(text + ": " + it.text);
    }
    return {};
  }

  Status verify_log() {
    Wal::Options options;
    options.directory = directory_ + "/wal";
    options.keys = keys_;
    Wal::Recovery recovery;
    // What lies before the older catalog may have been given up.
    const Lsn from = log_from_ == UINT64_MAX ? 1 : log_from_;
    OverlayFiles overlay(files_);
    const auto replay = replay_wal(
        overlay, options, from, [&](const Frame&) { ++report.frames; }, recovery);
    if (!replay) return replay.error().code == Errc::NotFound ? Status() : Status(replay.error());
    for (const WalFile& file : replay->files) {
      ++report.files;
      report.bytes += file.head.file_bytes;
    }
    auto& notes = recovery.damaged > 0 ? report.damage : report.notes;
    for (const std::string& note : recovery.notes)
      notes.push_back("wal/" + note);
    if (recovery.torn_tail)
      report.notes.push_back("wal: the last group was not written whole, as after a crash");
    return {};
  }

  Files& files_;
  const std::string directory_;
  Keyring* const keys_;
  Lsn log_from_ = UINT64_MAX;
};

}  // namespace

Result<VerifyReport> verify_store(Files& files, const std::string& directory, Keyring* keys) {
  StoreVerifier verifier(files, directory, keys);
  if (const Status status = verifier.verify(); !status) return status.error();
  return std::move(verifier.report);
}

}  // namespace brokkr::store
