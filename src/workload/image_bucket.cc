#include "workload/image_bucket.h"

#include <sys/stat.h>

#include <cerrno>

#include "base/json.h"
#include "sandbox/image_manifest.h"
#include "workload/image_reference.h"

namespace brokkr::workload {
namespace {

constexpr uint64_t kStoredTagBytesMax = 1U << 20;
constexpr size_t kStoredBlobsMax = 1024;

}  // namespace

std::string images_bucket(std::string_view ns) { return "NEX_IMAGES_" + std::string(ns); }

std::string image_object_name(std::string_view name, std::string_view tag) {
  return std::string(name).append(":").append(tag);
}

bool is_image_object(std::string_view object_name) { return !sandbox::image::is_digest(object_name); }

uint64_t ImageTag::bytes() const {
  uint64_t sum = 0;
  for (const Blob& blob : blobs) sum += blob.size;
  return sum;
}

std::string encode(const ImageTag& tag) {
  json::Writer out;
  out.begin_object().field("manifest", tag.manifest).field("architecture", tag.architecture);
  out.field("source", tag.source).key("blobs").begin_array();
  for (const ImageTag::Blob& blob : tag.blobs) {
    out.begin_object().field("digest", blob.digest).field("size", blob.size).end_object();
  }
  out.end_array().end_object();
  return out.take();
}

Result<ImageTag> decode_image_tag(std::string_view text) {
  const Error bad{Errc::Corrupt, "what is stored is no image"};
  auto value = json::parse(text);
  if (!value || !value->is_object()) return bad;
  ImageTag out;
  out.manifest = value->get_string("manifest");
  out.architecture = value->get_string("architecture");
  out.source = value->get_string("source");
  const json::Value* blobs = value->find("blobs");
  if (!sandbox::image::is_digest(out.manifest) || blobs == nullptr || !blobs->is_array()) return bad;
  if (blobs->items().size() > kStoredBlobsMax) return bad;
  for (const json::Value& item : blobs->items()) {
    ImageTag::Blob blob{std::string(item.get_string("digest")), 0};
    const int64_t size = item.get_int("size", -1);
    if (!sandbox::image::is_digest(blob.digest) || size < 0) return bad;
    blob.size = static_cast<uint64_t>(size);
    out.blobs.push_back(std::move(blob));
  }
  return out;
}

Result<ImageTag> describe_image(const sandbox::ImageStore& store, const std::string& manifest_digest) {
  auto blobs = store.blobs_of(manifest_digest);
  if (!blobs) return blobs.error();
  ImageTag out;
  out.manifest = manifest_digest;
  out.architecture = sandbox::image::machine_architecture();
  for (const std::string& digest : *blobs) {
    struct stat about {};
    if (stat(store.blob_path(digest).c_str(), &about) != 0) return system_error(digest.c_str(), errno);
    out.blobs.push_back({digest, static_cast<uint64_t>(about.st_size)});
  }
  return out;
}

Result<ImportedImage> import_image(const std::string& folder, const ImageUri& uri, const RegistryOptions& registry,
                                   FunctionRef<void(const std::string&, uint64_t)> on_blob) {
  auto store = sandbox::ImageStore::open(folder);
  if (!store) return store.error();
  auto digest = uri.kind == ImageUri::Kind::Registry ? pull_image(*store, uri.registry, registry, on_blob)
                                                     : store->import(uri.path, uri.reference);
  if (!digest) return digest.error();
  // A layer that cannot be unpacked is found here, not on a node.
  if (auto unpacked = store->unpack(*digest); !unpacked) return unpacked.error();
  auto tag = describe_image(*store, *digest);
  if (!tag) return tag.error();
  ImportedImage out{std::move(*tag), {}};
  for (const ImageTag::Blob& blob : out.tag.blobs) out.paths.push_back(store->blob_path(blob.digest));
  return out;
}

// Kept alive by the answers that are still to come; `is_gone` tells them that nobody waits.
struct ImageFetch::State : std::enable_shared_from_this<State> {
  State(client::JetStream jetstream, sandbox::ImageStore& images, io::Loop& its_loop, io::Worker& its_worker)
      : js(std::move(jetstream)), store(images), loop(its_loop), worker(its_worker) {}
  client::JetStream js;
  sandbox::ImageStore& store;
  io::Loop& loop;
  io::Worker& worker;
  Done done;
  std::string object;
  std::optional<client::ObjectStore> bucket;
  ImageTag tag;
  size_t next = 0;
  std::unique_ptr<sandbox::BlobWriter> writer;
  Status committed;
  bool is_gone = false;

  void open(const std::string& name);
  void read_tag();
  void fetch_next();
  void commit();
  void finish(Result<ImageTag> result);
};

std::unique_ptr<ImageFetch> ImageFetch::start(client::JetStream js, const std::string& ns, const std::string& name,
                                              const std::string& tag, sandbox::ImageStore& store, io::Loop& loop,
                                              io::Worker& worker, Done done) {
  auto state = std::make_shared<State>(std::move(js), store, loop, worker);
  state->done = std::move(done);
  state->object = image_object_name(name, tag);
  loop.post([state, ns] {
    if (!state->is_gone) state->open(images_bucket(ns));
  });
  return std::unique_ptr<ImageFetch>(new ImageFetch(std::move(state)));
}

ImageFetch::~ImageFetch() { state_->is_gone = true; }

void ImageFetch::State::finish(Result<ImageTag> result) {
  if (is_gone) return;
  is_gone = true;
  const Done call = std::move(done);
  call(std::move(result));
}

void ImageFetch::State::open(const std::string& name) {
  client::ObjectStore::open(js, name, [self = shared_from_this()](client::ApiResult<client::ObjectStore> opened) {
    if (self->is_gone) return;
    if (!opened) {
      const bool is_missing = opened.error().err_code == client::kStreamNotFoundError || opened.error().code == Errc::NotFound;
      if (is_missing) return self->finish(Error{Errc::NotFound, "image " + self->object + " is not stored: no image is"});
      return self->finish(Error(opened.error()));
    }
    self->bucket.emplace(std::move(*opened));
    self->read_tag();
  });
}

void ImageFetch::State::read_tag() {
  bucket->get_bytes(object, kStoredTagBytesMax, [self = shared_from_this()](client::ApiResult<std::string> text) {
    if (self->is_gone) return;
    if (!text) {
      if (text.error().code == Errc::NotFound) return self->finish(Error{Errc::NotFound, "image " + self->object + " is not stored"});
      return self->finish(Error(text.error()));
    }
    auto read = decode_image_tag(*text);
    if (!read) return self->finish(Error{read.error().code, "image " + self->object + ": " + read.error().text});
    self->tag = std::move(*read);
    self->fetch_next();
  });
}

void ImageFetch::State::fetch_next() {
  while (next < tag.blobs.size() && store.has_blob(tag.blobs[next].digest)) next++;
  if (next == tag.blobs.size()) return finish(tag);
  const ImageTag::Blob& blob = tag.blobs[next];
  auto begun = store.begin_blob(blob.digest, blob.size);
  if (!begun) return finish(begun.error());
  writer = std::move(*begun);
  client::ObjectSink sink;
  sink.on_chunk = [self = shared_from_this()](std::string_view bytes) -> Status {
    if (self->is_gone) return Error{Errc::Closed, "cancelled"};
    return self->writer->write(bytes);
  };
  bucket->get(blob.digest, std::move(sink), [self = shared_from_this()](client::ApiResult<client::ObjectInfo> got) {
    if (self->is_gone) return;
    if (!got) return self->finish(Error{got.error().code, "blob of image " + self->object + ": " + got.error().text});
    self->commit();
  });
}

void ImageFetch::State::commit() {
  const bool is_queued = worker.run(
      loop, [self = shared_from_this()] { self->committed = self->writer->commit(); },
      [self = shared_from_this()] {
        if (self->is_gone) return;
        self->writer.reset();
        if (!self->committed) return self->finish(self->committed.error());
        self->fetch_next();
      });
  if (!is_queued) finish(Error{Errc::LimitExceeded, "too many images at once"});
}

}  // namespace brokkr::workload
