#include "cli/bucket.h"

#include <algorithm>

#include "base/bytes.h"
#include "cli/connect.h"
#include "cli/prompt.h"
#include "cli/stream_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr size_t kShortMax = 40;
constexpr size_t kShortPart = 15;

std::string replica_text(const client::PeerInfo& peer) {
  std::string text = peer.name + (peer.current ? ", current" : ", outdated");
  if (peer.offline) text += ", OFFLINE";
  text += peer.active > Duration(0) && peer.active < Duration::max()
              ? ", seen " + long_duration(peer.active) + " ago"
              : ", not seen";
  if (peer.lag > 0) {
    text += ", " + comma(peer.lag) + (peer.lag == 1 ? " operation" : " operations") + " behind";
  }
  return text;
}

}  // namespace

Result<BucketApi> BucketApi::open(const Context& context, const Values& values) {
  auto prefix = jetstream_prefix(values);
  if (!prefix) return prefix.error();
  auto session = connect(context, values);
  if (!session) return session.error();
  BucketApi api;
  api.session_ = std::move(*session);
  client::JetStreamOptions options;
  options.api_prefix = std::move(*prefix);
  if (const Duration timeout = values.duration("timeout"); timeout > Duration(0)) {
    options.timeout = timeout;
  }
  api.js_.emplace(api.session_->connection(), std::move(options));
  return api;
}

std::string api_error_text(const client::ApiError& error) {
  return "nats: API error: code=" + std::to_string(error.http_code) +
         " err_code=" + std::to_string(error.err_code) + " description=" + error.text;
}

Error creation_error(const client::ApiError& error, const std::string& bucket) {
  if (error.err_code != client::kStreamNameInUseError) return original_error(error);
  client::ApiError server = error;
  server.text = "stream name already in use";
  return {error.code, "nats: bucket name already in use: " + bucket + "\n" + api_error_text(server)};
}

Error original_error(const client::ApiError& error) {
  switch (error.code) {
    case Errc::NoResponders: return {Errc::Unavailable, "nats: no responders available for request"};
    case Errc::TimedOut:
      if (error.http_code == 0) return {Errc::Unavailable, "context deadline exceeded"};
      break;
    case Errc::NotFound:
      // Of buckets, keys and objects, in this room's own words.
      if (error.text.ends_with(" not found") && error.text != "stream not found") {
        return {Errc::NotFound, "nats: " + error.text};
      }
      break;
    default: break;
  }
  if (error.err_code != 0) return {Errc::Unavailable, api_error_text(error)};
  const bool is_ours = error.code == Errc::InvalidArgument || error.code == Errc::Corrupt;
  return {Errc::Unavailable, is_ours ? "nats: " + error.text : error.text};
}

Result<std::string> pick_bucket(BucketApi& api, const Values& values,
                                std::string_view stream_prefix, const char* when_none) {
  if (std::string name = values.text("bucket"); !name.empty()) return name;
  auto names = api.wait<std::vector<std::string>>(
      [&](auto done) { api.jetstream().stream_names({}, std::move(done)); });
  if (!names) return names.error();
  std::vector<std::string> buckets;
  for (const std::string& name : *names) {
    if (name.starts_with(stream_prefix)) buckets.push_back(name.substr(stream_prefix.size()));
  }
  if (buckets.empty()) return Error{Errc::NotFound, when_none};
  return ask_choice("Select a Bucket", buckets);
}

Result<bool> confirm(const Values& values, const std::string& question,
                     std::string_view when_not) {
  if (values.is_on("force")) return true;
  auto answer = ask_yes(question, false);
  if (answer && !*answer && !when_not.empty()) print_line(when_not);
  return answer;
}

std::string printable(std::string_view value) {
  const bool is_text = std::all_of(value.begin(), value.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte >= 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
  });
  return is_text ? std::string(value) : base64_encode(value);
}

std::string shortened(const std::string& text) {
  if (text.size() <= kShortMax) return text;
  return text.substr(0, kShortPart) + "..." + text.substr(text.size() - kShortPart);
}

Result<client::Storage> storage_of(const Values& values) {
  if (Status status = check_word(values, "storage", "file,f,memory,m"); !status) {
    return status.error();
  }
  return values.text("storage").starts_with('m') ? client::Storage::Memory : client::Storage::File;
}

std::optional<client::Placement> placement_of(const Values& values) {
  client::Placement placement{values.text("cluster"), values.all("tags"), {}};
  if (placement.cluster.empty() && placement.tags.empty()) return {};
  return placement;
}

client::Metadata metadata_of(const Values& values) {
  client::Metadata metadata;
  for (const auto& [key, value] : pairs_of(values.all("metadata"))) metadata[key] = value;
  return metadata;
}

Result<int64_t> bytes_of(const Values& values, const char* flag) {
  return values.text(flag).empty() ? Result<int64_t>(int64_t{-1}) : parse_bytes(values.text(flag));
}

std::string size_or_unlimited(int64_t bytes) {
  return bytes < 0 ? "unlimited" : short_bytes(static_cast<uint64_t>(bytes));
}

std::string age_or_unlimited(Duration age) {
  return age <= Duration(0) ? "unlimited" : long_duration(age);
}

const char* storage_title(client::Storage storage) {
  return storage == client::Storage::File ? "File" : "Memory";
}

std::vector<std::string> metadata_lines(const client::Metadata& metadata) {
  std::vector<std::string> lines;
  for (const auto& [key, value] : metadata) {
    if (!key.starts_with("_nats.")) lines.push_back(key + ": " + value);
  }
  return lines;
}

void add_cluster(Columns& columns, const client::StreamInfo& info) {
  if (!info.cluster) return;
  columns.section("Cluster Information");
  columns.row("Name", info.cluster->name);
  columns.row("Leader", info.cluster->leader);
  for (const client::PeerInfo& peer : info.cluster->replicas) {
    columns.row("Replica", replica_text(peer));
  }
}

std::string last_update_text(const client::StreamInfo& info, WallTime now) {
  return long_duration(info.state.last_ts ? now - *info.state.last_ts : Duration::max());
}

}  // namespace brokkr::cli
