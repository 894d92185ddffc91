#include "app/jetstream_setup.h"

#include <array>
#include <cstdio>

#include "broker/monitor/varz.h"
#include "store/files.h"

namespace brokkr::app {
namespace {

constexpr std::string_view kFolderName = "/jetstream";

// "17.66 GB", as nats-server shows sizes.
std::string size_text(uint64_t bytes) {
  constexpr std::array<const char*, 6> kUnits = {"KB", "MB", "GB", "TB", "PB", "EB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  double size = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; size >= 1024 && unit + 1 < kUnits.size(); ++unit) size /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, "%.2f %s", size, kUnits[unit]);
  return text;
}

jetstream::AccountLimits to_limits(const config::AccountJetStream& from) {
  jetstream::AccountLimits limits;
  limits.max_memory = from.max_memory;
  limits.max_storage = from.max_storage;
  limits.max_streams = from.max_streams;
  limits.max_consumers = from.max_consumers;
  limits.max_ack_pending = from.max_ack_pending;
  limits.memory_max_stream_bytes = from.memory_max_stream_bytes;
  limits.storage_max_stream_bytes = from.storage_max_stream_bytes;
  limits.max_bytes_required = from.max_bytes_required;
  return limits;
}

store::Cipher to_cipher(const config::JetStreamOptions& options) {
  if (options.key.empty()) return store::Cipher::None;
  return options.cipher == "aes" ? store::Cipher::Aes256Gcm : store::Cipher::ChaCha20Poly1305;
}

uint64_t to_bytes(int64_t configured) {
  return configured > 0 ? static_cast<uint64_t>(configured) : 0;
}

}  // namespace

jetstream::JetStream::AccountMap jetstream_accounts(const auth::AccountTable& accounts) {
  jetstream::JetStream::AccountMap out;
  bool is_asked_for = false;
  accounts.for_each([&](const auth::AccountRules& rules) {
    is_asked_for |= rules.settings.jetstream.has_value();
    std::optional<jetstream::AccountLimits> limits;
    if (rules.settings.jetstream) limits = to_limits(*rules.settings.jetstream);
    out[rules.name] = limits;
  });
  // An entry that is only there for the mappings of $G says nothing of JetStream.
  if (!is_asked_for) out[std::string(broker::kGlobalAccount)] = jetstream::AccountLimits{};
  out.try_emplace(std::string(broker::kGlobalAccount));
  return out;
}

jetstream::JetStream::Options make_jetstream_options(const config::Options& options,
                                                     const auth::AccountTable& accounts,
                                                     const std::string& default_folder) {
  const config::JetStreamOptions& from = options.jetstream_options;
  jetstream::JetStream::Options out;
  out.store_directory = options.store_dir.empty() ? default_folder : options.store_dir;
  while (out.store_directory.size() > 1 && out.store_directory.back() == '/') {
    out.store_directory.pop_back();
  }
  out.store_directory += kFolderName;
  out.max_memory = to_bytes(from.max_memory);
  out.max_storage = to_bytes(from.max_storage);
  out.domain = from.domain;
  out.strict = from.strict;
  out.sync = from.sync_interval > Duration::zero() ? store::SyncMode::Interval
                                                   : store::SyncMode::Always;
  if (from.sync_interval > Duration::zero()) out.sync_interval = from.sync_interval;
  out.cipher = to_cipher(from);
  out.key = from.key;
  out.previous_key = from.previous_key;
  out.max_ack_pending = from.max_ack_pending;
  out.max_request_batch = from.max_request_batch;
  out.duplicate_window = from.duplicate_window;
  if (from.request_queue_limit > 0) {
    out.request_queue_limit = static_cast<size_t>(from.request_queue_limit);
  }
  out.system_account =
      options.system_account.empty() ? broker::kSystemAccount : options.system_account;
  out.accounts = jetstream_accounts(accounts);
  return out;
}

Status check_store_folder(const std::string& folder) {
  store::Files& files = store::posix_files();
  if (!files.exists(folder)) return {};
  const auto entries = files.list(folder);
  if (!entries) return entries.error();
  for (const store::DirectoryEntry& entry : *entries) {
    if (entry.is_directory && files.exists(folder + "/" + entry.name + "/streams")) {
      return Error{Errc::AlreadyExists,
                   "the store folder " + folder + " holds files of nats-server, which this server " +
                       "neither reads nor changes; choose another with --store_dir and carry the " +
                       "streams over with `nats stream backup` and `restore`"};
    }
  }
  return {};
}

void announce_jetstream(Log& log, const jetstream::JetStream& jetstream) {
  const auto& options = jetstream.options();
  log.info("---------------- JETSTREAM ----------------");
  log.info("  Strict:          " + std::string(options.strict ? "true" : "false"));
  log.info("  Max Memory:      " + size_text(jetstream.max_memory()));
  log.info("  Max Storage:     " + size_text(jetstream.max_storage()));
  log.info("  Store Directory: \"" + options.store_directory + "\"");
  if (!options.domain.empty()) log.info("  Domain:          " + options.domain);
  if (options.cipher != store::Cipher::None) {
    log.info("  Encryption:      " + std::string(options.cipher == store::Cipher::Aes256Gcm
                                                      ? "AES-GCM"
                                                      : "ChaCha20-Poly1305"));
  }
  log.info("  API Level:       " + std::to_string(jetstream::kApiLevel));
  log.info("-------------------------------------------");
}

}  // namespace brokkr::app
