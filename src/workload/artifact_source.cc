#include "workload/artifact_source.h"

#include <fcntl.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/sha256.h"
#include "workload/image_reference.h"

namespace brokkr::workload {
namespace {

constexpr uint64_t kArtifactBytesMax = 512U << 20;
constexpr size_t kSha256HexLength = 64;

// A regular file that everybody may read: what a deployment names must not open what only the node may.
Result<std::string> read_public_file(const std::string& path, const NodeFolders& folders) {
  auto file = open_node_file(path, folders);
  if (!file) return file.error();
  if (file->is_folder || !file->is_public) {
    return Error{Errc::PermissionDenied, path + " is no file everybody on the node may read"};
  }
  const sandbox::image::OwnedFd fd(::open(file->again().c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return Error{Errc::NotFound, path + " cannot be read on the node"};
  return sandbox::image::read_all(fd.get(), kArtifactBytesMax, path);
}

}  // namespace

Result<ArtifactUri> parse_artifact_uri(std::string_view uri) {
  const auto mistake = [&](const char* text) {
    return Error{Errc::InvalidArgument, "\"" + std::string(uri) + "\" " + text};
  };
  ArtifactUri into;
  if (uri.starts_with("sha256://")) {
    into.kind = ArtifactUri::Kind::Digest;
    into.name = to_lower(uri.substr(9));
    const bool is_hex = std::all_of(into.name.begin(), into.name.end(), [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    });
    if (into.name.size() != kSha256HexLength || !is_hex) return mistake("is no SHA-256 digest");
    return into;
  }
  if (uri.starts_with("file://")) {
    into.kind = ArtifactUri::Kind::File;
    into.name = uri.substr(7);
    if (!into.name.starts_with("/")) return mistake("has no absolute path");
    return into;
  }
  if (uri.starts_with("nats://")) {
    into.kind = ArtifactUri::Kind::Object;
    const std::string_view rest = uri.substr(7);
    const size_t slash = rest.find('/');
    if (slash == 0 || slash == std::string_view::npos || slash + 1 == rest.size()) {
      return mistake("is not nats://BUCKET/name");
    }
    into.bucket = rest.substr(0, slash);
    into.name = rest.substr(slash + 1);
    if (const size_t colon = into.name.rfind(':'); colon != std::string::npos && colon > 0) {
      into.name[colon] = '_';
      into.has_tag = true;
    }
    return into;
  }
  if (parse_image_uri(uri)) return into;
  return mistake("is of no kind this node knows");
}

void ArtifactSource::fetch(const ArtifactUri& uri, const For& whom,
                           Callback<void(Result<std::string>)> handler) {
  using Kind = ArtifactUri::Kind;
  const std::string& ns = whom.ns;
  const auto& access = whom.access;
  if (uri.kind == Kind::File) return handler(read_public_file(uri.name, whom.folders));
  if (uri.kind == Kind::Image) {
    return handler(Error{Errc::InvalidArgument, "an image is no artifact of this type"});
  }
  if (uri.kind == Kind::Digest) {
    if (whom.may_use_cache) {
      if (auto cached = deps_.cache.get(uri.name); cached) return handler(std::move(*cached));
    }
    return deps_.store.get_artifact(
        ns, uri.name, kArtifactBytesMax,
        [ns, name = uri.name, handler = std::move(handler)](client::ApiResult<std::string> bytes) {
          const std::string what = "artifact " + name + " of namespace " + ns + ": ";
          if (!bytes) return handler(Error{bytes.error().code, what + bytes.error().text});
          if (sha256_hex(*bytes) != name) return handler(Error{Errc::Corrupt, what + "what is stored is another one"});
          handler(std::move(*bytes));
        });
  }
  // NEXCLIFILES is where clients of old put what they deploy.
  const bool is_upload = uri.bucket == "NEXCLIFILES";
  if (is_upload && !whom.may_read_uploads) {
    return handler(Error{Errc::PermissionDenied, "bucket \"" + uri.bucket + "\" has uploads of every namespace: " +
                                                     "it is not of namespace \"" + ns + "\""});
  }
  if (!is_upload && (is_control_bucket(uri.bucket) || !access->may_use_object_store(uri.bucket))) {
    return handler(Error{Errc::PermissionDenied, "bucket \"" + uri.bucket +
                                                     "\" is not of namespace \"" + ns + "\""});
  }
  const std::string bucket = is_upload ? uri.bucket : access->object_store_name(uri.bucket);
  deps_.store.get_object(
      bucket, uri.name, kArtifactBytesMax,
      [this, bucket, uri, handler = std::move(handler)](client::ApiResult<std::string> bytes) mutable {
        if (bytes) return handler(std::move(*bytes));
        if (uri.has_tag) return handler(Error(bytes.error()));
        deps_.store.get_object(bucket, uri.name + "_latest", kArtifactBytesMax,
                               [handler = std::move(handler)](client::ApiResult<std::string> again) {
                                 if (!again) return handler(Error(again.error()));
                                 handler(std::move(*again));
                               });
      });
}

}  // namespace brokkr::workload
