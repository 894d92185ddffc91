#include "cli/artifact.h"

#include <cctype>
#include <filesystem>

#include "base/bytes.h"
#include "base/sha256.h"
#include "cli/files.h"
#include "cli/terminal.h"
#include "client/jetstream_sync.h"
#include "client/object_store.h"
#include "workload/desired.h"

namespace brokkr::cli {
namespace {

constexpr size_t kArtifactMax = 512U << 20;
// Beside the artifact, in base64 and escaped once more, a message holds the rest of the deployment.
constexpr uint64_t kMessageRest = 128 << 10;

constexpr std::string_view kImageSchemes[] = {"docker://", "oci:", "oci-archive:", "docker-archive:", "image:"};
constexpr std::string_view kFileSchemes[] = {"nats://", "file://", "sha256://"};

bool is_image_place(std::string_view place) {
  for (const std::string_view scheme : kImageSchemes) {
    if (place.starts_with(scheme)) return true;
  }
  return false;
}

std::string_view last_part(std::string_view path) {
  const size_t slash = path.rfind('/');
  return path.substr(slash == std::string_view::npos ? 0 : slash + 1);
}

std::string type_of_name(std::string_view name) {
  for (const char* extension : {".js", ".mjs", ".cjs"}) {
    if (name.ends_with(extension)) return "v8";
  }
  return name.ends_with(".wasm") ? "wasm" : "";
}

// Which machine an ELF file is for; empty for one nodes may have.
std::string foreign_machine(std::string_view elf) {
  if (elf.size() < 20) return "nothing, it is cut off";
  const auto byte = [&](size_t at) { return static_cast<uint8_t>(elf[at]); };
  if (byte(4) != 2) return "a 32-bit machine";
  const unsigned machine = byte(5) == 2 ? byte(18) * 256U + byte(19) : byte(19) * 256U + byte(18);
  constexpr unsigned kX86_64 = 62;
  constexpr unsigned kAarch64 = 183;
  constexpr unsigned kRiscV = 243;
  return machine == kX86_64 || machine == kAarch64 || machine == kRiscV ? "" : "machine " + std::to_string(machine);
}

bool is_without_jetstream(const client::ApiError& error) {
  constexpr int kNotEnabled = 10076;
  constexpr int kNotEnabledForAccount = 10039;
  return error.code == Errc::NoResponders || error.err_code == kNotEnabled || error.err_code == kNotEnabledForAccount;
}

// "oci:./img:tag" -> "oci:/here/img:tag", as the node starts elsewhere.
std::string absolute_place(const std::string& place, const std::string& folder) {
  for (const char* scheme : {"oci:", "oci-archive:", "docker-archive:"}) {
    const std::string_view prefix = scheme;
    if (!place.starts_with(prefix) || place.substr(prefix.size()).starts_with("/")) continue;
    std::error_code failure;
    const auto path = std::filesystem::absolute(std::filesystem::path(folder) / place.substr(prefix.size()), failure);
    if (!failure) return std::string(prefix) + path.lexically_normal().string();
  }
  return place;
}

}  // namespace

bool is_place(const std::string& word) {
  for (const std::string_view scheme : kFileSchemes) {
    if (word.starts_with(scheme)) return true;
  }
  return is_image_place(word);
}

std::string name_of_place(const std::string& place) {
  std::string name(place);
  if (is_place(place)) {
    // Neither a digest nor a tag is part of the name; a colon may also belong to a registry's port.
    name = name.substr(0, name.find('@'));
    name = last_part(name);
    if (name.find(':') != std::string::npos && !name.starts_with("image:") && !name.starts_with("oci:")) name.resize(name.find(':'));
    if (is_image_place(name)) name = name.substr(name.find(':') + 1);
    name = name.substr(0, name.find(':'));
  }
  name = last_part(name);
  std::erase(name, '.');
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-' && c != '_') c = '-';
  }
  return name;
}

Result<std::string> type_of_content(const std::string& path, std::string_view content) {
  if (content.starts_with(std::string_view("\0asm", 4))) return std::string("wasm");
  if (content.starts_with("\x7f" "ELF")) {
    const std::string machine = foreign_machine(content);
    if (!machine.empty()) return Error{Errc::Unsupported, path + ": the program is for " + machine};
    return std::string("native");
  }
  if (content.starts_with("MZ")) return Error{Errc::Unsupported, path + ": the program is for Windows; nodes run those for Linux"};
  for (const std::string_view magic : {"\xcf\xfa\xed\xfe", "\xfe\xed\xfa\xcf", "\xca\xfe\xba\xbe"}) {
    if (content.starts_with(magic)) return Error{Errc::Unsupported, path + ": the program is for macOS; nodes run those for Linux"};
  }
  const std::string type = type_of_name(path);
  if (!type.empty()) return type;
  if (content.starts_with("#!")) return std::string("native");
  return Error{Errc::InvalidArgument, path + ": cannot tell its type, say --type v8, wasm or native"};
}

Result<std::string> type_of_place(const std::string& place) {
  if (is_image_place(place)) return std::string("oci");
  const std::string type = type_of_name(place);
  if (!type.empty()) return type;
  if (place.starts_with("file://")) return std::string("native");
  return Error{Errc::InvalidArgument, place + ": cannot tell its type, say --type v8, wasm, native or oci"};
}

Status load_artifact(NexfileWorkload& wanted, const std::string& folder) {
  if (wanted.type == "js" || wanted.type == "javascript") wanted.type = "v8";
  if (wanted.type == "image" || wanted.type == "container") wanted.type = "oci";
  workload::RunRequest& run = wanted.run;
  if (!wanted.file.empty()) {
    const bool is_absolute = wanted.file.starts_with("/") || folder.empty();
    const std::string path = is_absolute ? wanted.file : folder + "/" + wanted.file;
    auto content = read_file(path, kArtifactMax);
    if (!content) return content.error();
    if (content->empty()) return Error{Errc::InvalidArgument, path + ": the file is empty"};
    if (wanted.type.empty()) {
      auto type = type_of_content(path, *content);
      if (!type) return type.error();
      wanted.type = std::move(*type);
    }
    const std::string digest = sha256_hex(*content);
    if (!run.sha256.empty() && run.sha256 != digest) {
      return Error{Errc::InvalidArgument, path + ": its SHA-256 is " + digest + ", not " + run.sha256};
    }
    run.sha256 = digest;
    run.artifact = std::move(*content);
    run.file_name = last_part(path);
  } else if (!run.uri.empty()) {
    run.uri = absolute_place(run.uri, folder.empty() ? "." : folder);
    if (wanted.type.empty()) {
      auto type = type_of_place(run.uri);
      if (!type) return type.error();
      wanted.type = std::move(*type);
    }
  } else if (run.artifact.empty()) {
    return Error{Errc::InvalidArgument, "\"" + wanted.name + "\" has neither a file nor a \"uri\""};
  }
  if (wanted.lifecycle.empty()) wanted.lifecycle = wanted.type == "v8" || wanted.type == "wasm" ? "function" : "service";
  return {};
}

Status store_artifact(WorkloadClient& workloads, const std::string& ns, workload::RunRequest& run) {
  client::Session& session = workloads.session();
  const int64_t limit = session.connection().server_info().max_payload;
  const uint64_t room = limit > 0 ? static_cast<uint64_t>(limit) : 1 << 20;
  if (run.artifact.empty() || run.artifact.size() / 3 * 4 + kMessageRest < room) return {};
  const uint64_t most = (room - kMessageRest) / 4 * 3;
  const client::JetStream js(session.connection());
  client::ObjectStoreConfig config;
  config.bucket = workload::artifacts_bucket(ns);
  config.description = "Artifacts of workloads";
  const auto failed = [&](const client::ApiError& error) {
    const std::string what = "the artifact has " + format_bytes(run.artifact.size()) + "; a message of this server holds one of up to " +
                             format_bytes(room > kMessageRest ? most : 0);
    if (!is_without_jetstream(error)) return Error{error.code, what + ", and it cannot be stored: " + error.text};
    return Error{Errc::LimitExceeded, what + ". Larger ones need JetStream, which this server does not have: start it with JetStream "
                                             "(nats-server -js), raise its max_payload, or name a file of the node, file:///PATH"};
  };
  auto store = client::wait_for<client::ObjectStore>(
      session.loop(), [&](auto done) { client::ObjectStore::open(js, config.bucket, std::move(done)); });
  if (!store) {
    store = client::wait_for<client::ObjectStore>(
        session.loop(), [&](auto done) { client::ObjectStore::create(js, config, std::move(done)); });
  }
  if (!store) return failed(store.error());
  auto there = client::wait_for<client::ObjectInfo>(session.loop(),
                                                    [&](auto done) { store->info(run.sha256, std::move(done)); });
  if (!there || there->size != run.artifact.size()) {
    client::ObjectMeta meta;
    meta.name = run.sha256;
    auto stored = client::wait_for<client::ObjectInfo>(
        session.loop(), [&](auto done) { store->put_bytes(meta, run.artifact, std::move(done)); });
    if (!stored) return failed(stored.error());
  }
  run.artifact.clear();
  run.uri = "sha256://" + run.sha256;
  return {};
}

}  // namespace brokkr::cli
