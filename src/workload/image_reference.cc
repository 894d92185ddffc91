#include "workload/image_reference.h"

#include <algorithm>

#include "base/bytes.h"
#include "sandbox/image_manifest.h"

namespace brokkr::workload {
namespace {

constexpr size_t kImageNameBytesMax = 255;
constexpr size_t kImageTagBytesMax = 128;
constexpr std::string_view kDockerHub = "docker.io";

bool is_word_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_tag_char(char c) { return is_word_char(c) || c == '.' || c == '_' || c == '-'; }

bool is_registry(std::string_view text) {
  return !text.empty() && text.size() <= kImageNameBytesMax && std::all_of(text.begin(), text.end(), [](char c) {
    return is_word_char(c) || c == '.' || c == '-' || c == ':' || c == '[' || c == ']';
  });
}

Error bad_reference(std::string_view text) {
  return Error{Errc::InvalidArgument, "'" + std::string(text.substr(0, 300)) + "' is no image reference"};
}

// Splits "rest:tag" at the last colon behind the last slash.
void split_tag(std::string_view text, std::string& rest, std::string& tag) {
  const size_t colon = text.rfind(':');
  const size_t slash = text.rfind('/');
  const bool has_tag = colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash);
  rest = text.substr(0, has_tag ? colon : text.size());
  tag = has_tag ? text.substr(colon + 1) : std::string_view();
}

}  // namespace

bool is_image_tag(std::string_view text) {
  return !text.empty() && text.size() <= kImageTagBytesMax && text[0] != '.' && text[0] != '-' &&
         std::all_of(text.begin(), text.end(), is_tag_char);
}

bool is_image_name(std::string_view text) {
  if (text.empty() || text.size() > kImageNameBytesMax || text == "sha256") return false;
  for (const std::string_view part : split(text, '/')) {
    if (part.empty() || !is_word_char(part[0]) || !std::all_of(part.begin(), part.end(), is_tag_char)) return false;
  }
  return true;
}

std::string RegistryReference::host() const {
  return registry == kDockerHub ? "registry-1.docker.io" : registry;
}

std::string RegistryReference::text() const {
  return registry + "/" + repository + (digest.empty() ? ":" + tag : "@" + digest);
}

Result<RegistryReference> parse_registry_reference(std::string_view text) {
  RegistryReference out;
  std::string_view rest = text;
  if (const size_t at = rest.find('@'); at != std::string_view::npos) {
    out.digest = rest.substr(at + 1);
    rest = rest.substr(0, at);
    if (!sandbox::image::is_digest(out.digest)) return bad_reference(text);
  }
  const size_t slash = rest.find('/');
  const std::string_view first = rest.substr(0, slash);
  // A first part that could be a host is one.
  const bool has_registry = slash != std::string_view::npos &&
                            (first == "localhost" || first.find_first_of(".:") != std::string_view::npos);
  out.registry = has_registry ? first : kDockerHub;
  if (has_registry) rest = rest.substr(slash + 1);
  if (out.registry == "index.docker.io") out.registry = kDockerHub;
  split_tag(rest, out.repository, out.tag);
  if (out.registry == kDockerHub && out.repository.find('/') == std::string::npos) {
    out.repository = "library/" + out.repository;
  }
  if (out.tag.empty() && !rest.ends_with(':') && out.digest.empty()) out.tag = "latest";
  const bool is_lower = std::none_of(out.repository.begin(), out.repository.end(),
                                     [](char c) { return c >= 'A' && c <= 'Z'; });
  if (!is_registry(out.registry) || !is_lower || !is_image_name(out.repository)) return bad_reference(text);
  if (out.digest.empty() ? !is_image_tag(out.tag) : !out.tag.empty() && !is_image_tag(out.tag)) return bad_reference(text);
  return out;
}

bool is_image_uri(std::string_view text) {
  for (const std::string_view scheme : {"oci:", "oci-archive:", "docker-archive:", "image:", "docker://"}) {
    if (text.starts_with(scheme)) return true;
  }
  return false;
}

Result<ImageUri> parse_image_uri(std::string_view text) {
  ImageUri out;
  const size_t colon = text.find(':');
  const std::string_view scheme = text.substr(0, colon);
  const std::string_view rest = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  if (rest.empty() || rest.find('\0') != std::string_view::npos) return bad_reference(text);
  if (scheme == "docker" && rest.starts_with("//")) {
    auto registry = parse_registry_reference(rest.substr(2));
    if (!registry) return registry.error();
    out.kind = ImageUri::Kind::Registry;
    out.registry = std::move(*registry);
    return out;
  }
  if (scheme == "image") {
    out.kind = ImageUri::Kind::Stored;
    split_tag(rest, out.name, out.reference);
    if (out.reference.empty() && !rest.ends_with(':')) out.reference = "latest";
    if (!is_image_name(out.name) || !is_image_tag(out.reference)) return bad_reference(text);
    return out;
  }
  if (scheme != "oci" && scheme != "oci-archive" && scheme != "docker-archive") return bad_reference(text);
  out.kind = scheme == "oci" ? ImageUri::Kind::Folder : ImageUri::Kind::Archive;
  split_tag(rest, out.path, out.reference);
  // docker-archive tags are whole names: FILE:repo:tag.
  if (scheme == "docker-archive") {
    std::string path;
    std::string name;
    split_tag(out.path, path, name);
    if (!name.empty()) {
      out.path = path;
      out.reference = name + ":" + out.reference;
    }
  }
  if (out.path.empty()) return bad_reference(text);
  return out;
}

}  // namespace brokkr::workload
