#include "sandbox/image_manifest.h"

#include <sys/utsname.h>

#include <algorithm>

#include "base/json.h"
#include "base/sha256.h"

namespace brokkr::sandbox::image {
namespace {

constexpr std::string_view kDigestPrefix = "sha256:";
constexpr size_t kHexLength = 64;
constexpr const char* kLayerTypes[] = {
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
};

Error corrupt(std::string text) { return Error{Errc::Corrupt, std::move(text)}; }

// A text that ends up in paths, arguments or the environment of programs.
bool is_clean(std::string_view text) { return text.find('\0') == std::string_view::npos; }

Result<std::string> text_member(const json::Value& value, std::string_view name) {
  const json::Value* member = value.find(name);
  if (member == nullptr || member->is_null()) return std::string();
  if (!member->is_string() || !is_clean(member->as_string())) {
    return corrupt("member " + std::string(name) + " is no text");
  }
  return std::string(member->as_string());
}

Result<std::vector<std::string>> texts_member(const json::Value& value, std::string_view name) {
  std::vector<std::string> texts;
  const json::Value* member = value.find(name);
  if (member == nullptr || member->is_null()) return texts;
  if (!member->is_array()) return corrupt("member " + std::string(name) + " is no list");
  for (const json::Value& item : member->items()) {
    if (!item.is_string() || !is_clean(item.as_string())) {
      return corrupt("an item of " + std::string(name) + " is no text");
    }
    texts.emplace_back(item.as_string());
  }
  return texts;
}

// The names of an object's members: what "Volumes" and "ExposedPorts" are.
Result<std::vector<std::string>> names_member(const json::Value& value, std::string_view name) {
  std::vector<std::string> names;
  const json::Value* member = value.find(name);
  if (member == nullptr || member->is_null()) return names;
  if (!member->is_object()) return corrupt("member " + std::string(name) + " is no object");
  for (const auto& [key, unused] : member->members()) {
    if (!is_clean(key)) return corrupt("a name in " + std::string(name) + " is no text");
    names.push_back(key);
  }
  return names;
}

Result<Descriptor> parse_descriptor(const json::Value& value) {
  if (!value.is_object()) return corrupt("a descriptor is no object");
  Descriptor out;
  out.media_type = value.get_string("mediaType");
  out.digest = value.get_string("digest");
  if (!is_digest(out.digest)) {
    const bool is_other = out.digest.find(':') != std::string::npos && !out.digest.starts_with(kDigestPrefix);
    return Error{is_other ? Errc::Unsupported : Errc::Corrupt,
                 "'" + out.digest.substr(0, 128) + "' is no SHA-256 digest"};
  }
  const int64_t size = value.get_int("size", -1);
  if (size < 0) return corrupt("descriptor of " + out.digest + " has no size");
  out.size = static_cast<uint64_t>(size);
  if (const json::Value* platform = value.find("platform"); platform != nullptr) {
    out.architecture = platform->get_string("architecture");
    out.os = platform->get_string("os");
  }
  if (const json::Value* notes = value.find("annotations"); notes != nullptr) {
    out.reference = notes->get_string("org.opencontainers.image.ref.name");
    out.reference_full = notes->get_string("io.containerd.image.name");
  }
  return out;
}

Result<std::vector<Descriptor>> parse_descriptors(const json::Value& list, size_t count_max) {
  std::vector<Descriptor> out;
  if (list.items().size() > count_max) {
    return Error{Errc::LimitExceeded, "more than " + std::to_string(count_max) + " entries"};
  }
  for (const json::Value& item : list.items()) {
    auto descriptor = parse_descriptor(item);
    if (!descriptor) return descriptor.error();
    out.push_back(std::move(*descriptor));
  }
  return out;
}

Result<json::Value> parse_object(std::string_view text, const char* what) {
  auto value = json::parse(text);
  if (!value) return corrupt(std::string(what) + ": " + value.error().text);
  if (!value->is_object()) return corrupt(std::string(what) + " is no JSON object");
  return value;
}

Status read_run_config(const json::Value& run, ImageConfig& out) {
  const auto take = [](auto parsed, auto& target) -> Status {
    if (!parsed) return parsed.error();
    target = std::move(*parsed);
    return {};
  };
  for (Status status : {take(text_member(run, "User"), out.user),
                        take(text_member(run, "WorkingDir"), out.working_folder),
                        take(text_member(run, "StopSignal"), out.stop_signal),
                        take(texts_member(run, "Env"), out.environment),
                        take(texts_member(run, "Entrypoint"), out.entrypoint),
                        take(texts_member(run, "Cmd"), out.command),
                        take(names_member(run, "Volumes"), out.volumes),
                        take(names_member(run, "ExposedPorts"), out.exposed_ports)}) {
    if (!status) return status;
  }
  if (const json::Value* labels = run.find("Labels"); labels != nullptr && labels->is_object()) {
    for (const auto& [key, value] : labels->members()) {
      out.labels.emplace_back(key, std::string(value.as_string()));
    }
  }
  return {};
}

}  // namespace

bool is_digest(std::string_view text) {
  if (!text.starts_with(kDigestPrefix)) return false;
  text.remove_prefix(kDigestPrefix.size());
  return text.size() == kHexLength && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

std::string hex_of(std::string_view digest) {
  return std::string(digest.substr(std::min(digest.size(), kDigestPrefix.size())));
}

std::string digest_of(std::string_view bytes) { return std::string(kDigestPrefix) + sha256_hex(bytes); }

Result<Document> parse_document(std::string_view text) {
  auto value = parse_object(text, "manifest");
  if (!value) return value.error();
  const int64_t version = value->get_int("schemaVersion", 2);
  if (version != 2) return Error{Errc::Unsupported, "manifest of version " + std::to_string(version)};
  Document out;
  const json::Value* manifests = value->find("manifests");
  const json::Value* layers = value->find("layers");
  // A document that is both would mean one thing to one reader and another to the next.
  if (manifests != nullptr && layers != nullptr) return corrupt("manifest is an index as well");
  if (manifests != nullptr && manifests->is_array()) {
    auto list = parse_descriptors(*manifests, 4096);
    if (!list) return list.error();
    out.is_index = true;
    out.manifests = std::move(*list);
    return out;
  }
  const json::Value* config = value->find("config");
  if (layers == nullptr || !layers->is_array() || config == nullptr) {
    return corrupt("neither a manifest nor an index");
  }
  auto config_descriptor = parse_descriptor(*config);
  if (!config_descriptor) return config_descriptor.error();
  out.config = std::move(*config_descriptor);
  auto list = parse_descriptors(*layers, kLayersMax);
  if (!list) return list.error();
  for (const Descriptor& layer : *list) {
    const auto is_known = [&](const char* type) { return layer.media_type == type; };
    if (std::none_of(std::begin(kLayerTypes), std::end(kLayerTypes), is_known)) {
      return Error{Errc::Unsupported, "layer " + layer.digest + " is of type '" + layer.media_type + "'"};
    }
  }
  out.layers = std::move(*list);
  return out;
}

Result<ConfigDocument> parse_config(std::string_view text) {
  auto value = parse_object(text, "image config");
  if (!value) return value.error();
  ConfigDocument out;
  out.config.architecture = value->get_string("architecture");
  out.config.os = value->get_string("os");
  if (const json::Value* run = value->find("config"); run != nullptr && run->is_object()) {
    if (Status read = read_run_config(*run, out.config); !read) return read.error();
  }
  const json::Value* roots = value->find("rootfs");
  if (roots == nullptr || !roots->is_object()) return corrupt("image config has no rootfs");
  auto diff_ids = texts_member(*roots, "diff_ids");
  if (!diff_ids) return diff_ids.error();
  for (const std::string& id : *diff_ids) {
    if (!is_digest(id)) return corrupt("diff id '" + id.substr(0, 128) + "' is no SHA-256 digest");
  }
  out.diff_ids = std::move(*diff_ids);
  return out;
}

Result<std::vector<SavedImage>> parse_saved(std::string_view text) {
  auto value = json::parse(text);
  if (!value) return corrupt("manifest.json: " + value.error().text);
  if (!value->is_array()) return corrupt("manifest.json is no list");
  std::vector<SavedImage> images;
  for (const json::Value& item : value->items()) {
    SavedImage image;
    auto config = text_member(item, "Config");
    auto tags = texts_member(item, "RepoTags");
    auto layers = texts_member(item, "Layers");
    if (!config) return config.error();
    if (!tags) return tags.error();
    if (!layers) return layers.error();
    if (config->empty()) return corrupt("manifest.json names no config");
    if (layers->size() > kLayersMax) return Error{Errc::LimitExceeded, "too many layers"};
    images.push_back({std::move(*config), std::move(*tags), std::move(*layers)});
  }
  return images;
}

std::string machine_architecture() {
  utsname names{};
  uname(&names);
  const std::string_view machine = names.machine;
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  if (machine == "armv7l") return "arm";
  return std::string(machine);
}

Result<Descriptor> choose_platform(const std::vector<Descriptor>& manifests) {
  const std::string machine = machine_architecture();
  std::string seen;
  const Descriptor* unnamed = nullptr;
  for (const Descriptor& one : manifests) {
    if (one.os == "linux" && one.architecture == machine) return one;
    if (one.os.empty() && one.architecture.empty()) {
      if (unnamed == nullptr) unnamed = &one;
      continue;
    }
    if (one.os == "unknown") continue;  // attestations
    seen += (seen.empty() ? "" : ", ") + one.os + "/" + one.architecture;
  }
  if (unnamed != nullptr) return *unnamed;
  return Error{Errc::Unsupported,
               "image is not there for linux/" + machine + (seen.empty() ? "" : ", only for " + seen)};
}

std::vector<std::string> chain_ids(const std::vector<std::string>& diff_ids) {
  std::vector<std::string> chain;
  for (const std::string& id : diff_ids) {
    chain.push_back(chain.empty() ? id : digest_of(chain.back() + " " + id));
  }
  return chain;
}

std::string make_manifest(const Descriptor& config, const std::vector<Descriptor>& layers) {
  json::Writer out;
  const auto descriptor = [&](const Descriptor& one) {
    out.begin_object().field("mediaType", one.media_type).field("digest", one.digest);
    out.field("size", one.size).end_object();
  };
  out.begin_object().field("schemaVersion", 2);
  out.field("mediaType", "application/vnd.oci.image.manifest.v1+json").key("config");
  descriptor(config);
  out.key("layers").begin_array();
  for (const Descriptor& layer : layers) descriptor(layer);
  out.end_array().end_object();
  return out.take();
}

}  // namespace brokkr::sandbox::image
