#include "workload/image_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "base/sha256.h"
#include "sandbox/image_files.h"

namespace brokkr::workload {
namespace {

// After an image was let go, after the start (when workloads come back), and anyhow.
constexpr Duration kCollectSoon = std::chrono::seconds(5);
constexpr Duration kCollectFirst = std::chrono::minutes(5);
constexpr Duration kCollectEvery = std::chrono::hours(1);

}  // namespace

// One URI on its way. The worker has it while it works, the loop before and after.
struct ImageSource::Job {
  std::string ns;
  ImageUri uri;
  RegistryOptions registry;
  NodeFolders folders;
  Done done;
  std::unique_ptr<ImageFetch> fetch;
  std::string manifest;
  std::optional<Result<sandbox::UnpackedImage>> result;
};

// While one of an image is there, the image stays.
class ImageSource::Hold {
 public:
  Hold(ImageSource& source, std::string digest)
      : source_(source), alive_(source.alive_), digest_(std::move(digest)) {}
  ~Hold() {
    if (!*alive_) return;
    // Its age counts from here. A note that cannot be made shortens its time, no more.
    (void)source_.store_->use(digest_).operator bool();
    source_.holds_.erase(digest_);
    if (!source_.collect_.is_armed()) source_.collect_.start(kCollectSoon);
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

 private:
  ImageSource& source_;
  const std::shared_ptr<bool> alive_;
  const std::string digest_;
};

ImageSource::ImageSource(io::Loop& loop, client::JetStream js, Options options)
    : loop_(loop), js_(std::move(js)), options_(std::move(options)),
      collect_(loop, [this] { collect(); }), worker_("images") {
  struct stat about {};
  if (stat((options_.folder + "/blobs").c_str(), &about) == 0) collect_.start(kCollectFirst);
}

ImageSource::~ImageSource() {
  *alive_ = false;
  is_cancelled_ = true;
  for (const auto& job : jobs_) job->fetch.reset();
}

Status ImageSource::open_store() {
  if (store_) return {};
  auto opened = sandbox::ImageStore::open(options_.folder, options_.limits);
  if (!opened) return opened.error();
  store_.emplace(std::move(*opened));
  return {};
}

void ImageSource::resolve(const std::string& ns, const std::string& uri, const Rights& rights, Done done) {
  auto job = std::make_shared<Job>();
  job->ns = ns;
  job->done = std::move(done);
  jobs_.push_back(job);
  auto parsed = parse_image_uri(uri);
  Status ready = parsed ? open_store() : Status(parsed.error());
  const bool is_local = parsed && (parsed->kind == ImageUri::Kind::Folder || parsed->kind == ImageUri::Kind::Archive);
  auto settings = read_registry_settings(options_.registries_file);
  if (ready && !settings) ready = settings.error();
  if (ready && is_local && !settings->allows_local_paths) {
    ready = Error{Errc::PermissionDenied, "images of this node's own files are not allowed"};
  }
  if (!ready) {
    job->result.emplace(ready.error());
    const std::weak_ptr<Job> weak = job;
    loop_.post([this, weak] {
      if (const auto waiting = weak.lock()) finish(waiting);
    });
    return;
  }
  job->uri = std::move(*parsed);
  job->registry = std::move(settings->options);
  job->registry.is_cancelled = &is_cancelled_;
  job->folders = rights.folders;
  if (job->uri.kind == ImageUri::Kind::Registry && !rights.may_use_registry(job->uri.registry.registry)) {
    job->registry.credentials_file.clear();
    job->registry.private_hosts.clear();
    job->registry.allows_plain_loopback = false;
  }
  if (is_collecting_) {
    delayed_.push_back(job);
    return;
  }
  begin(job);
}

void ImageSource::begin(const std::shared_ptr<Job>& job) {
  if (job->uri.kind != ImageUri::Kind::Stored) return start(job, false);
  job->fetch = ImageFetch::start(js_, job->ns, job->uri.name, job->uri.reference, *store_, loop_, worker_,
                                 [this, weak = std::weak_ptr<Job>(job)](Result<ImageTag> tag) {
                                   const auto waiting = weak.lock();
                                   if (waiting == nullptr) return;
                                   if (tag) {
                                     waiting->manifest = tag->manifest;
                                     return start(waiting, true);
                                   }
                                   waiting->result.emplace(tag.error());
                                   finish(waiting);
                                 });
}

// On the worker. What a tag meant is kept beside the store, under the digest of its name.
Result<std::string> ImageSource::pull(const Job& job) {
  const RegistryReference& from = job.uri.registry;
  auto digest = pull_image(*store_, from, job.registry, [](const std::string&, uint64_t) {});
  // What one namespace could pull is no other's because the registry cannot be asked.
  const std::string path = options_.folder + "/tags/" + sha256_hex(job.ns + " " + from.text());
  if (digest) {
    if (!sandbox::image::make_folders(options_.folder + "/tags")) return digest;
    const std::string temporary = path + ".new";
    const sandbox::image::OwnedFd file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    const bool is_written = file && sandbox::image::write_all(file.get(), *digest);
    if (!is_written || rename(temporary.c_str(), path.c_str()) != 0) unlink(temporary.c_str());
    return digest;
  }
  if (digest.error().code != Errc::Unavailable) return digest;
  const sandbox::image::OwnedFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return digest;
  auto known = sandbox::image::read_all(file.get(), 128, path);
  return known && store_->has_blob(*known) ? known : digest;
}

namespace {

// On the worker. By the handle that was checked, whatever the path means meanwhile; people are told the
// path.
Result<std::string> import_node_file(sandbox::ImageStore& store, const ImageUri& uri,
                                     const NodeFolders& folders) {
  auto file = open_node_file(uri.path, folders);
  if (!file) return file.error();
  const std::string handle = file->again();
  auto digest = store.import(handle, uri.reference);
  if (digest) return digest;
  Error error = digest.error();
  const size_t at = error.text.find(handle);
  if (at != std::string::npos) error.text.replace(at, handle.size(), uri.path);
  return error;
}

}  // namespace

// On the worker: brings the image into the store and unpacks it.
void ImageSource::run(const std::shared_ptr<Job>& job) {
  const auto import = [&]() -> Result<std::string> {
    switch (job->uri.kind) {
      case ImageUri::Kind::Folder:
      case ImageUri::Kind::Archive: return import_node_file(*store_, job->uri, job->folders);
      case ImageUri::Kind::Registry: return pull(*job);
      case ImageUri::Kind::Stored: break;
    }
    // Its blobs are here; this checks that they are an image for this machine.
    return store_->fetch(job->manifest, 0, [](const sandbox::ImageStore::Wanted& blob) -> Status {
      return Error{Errc::NotFound, "blob " + blob.digest + " is not stored"};
    });
  };
  auto digest = import();
  if (const Status noted = digest ? store_->use(*digest) : Status(); !noted) digest = noted.error();
  job->result.emplace(digest ? store_->unpack(*digest) : Result<sandbox::UnpackedImage>(digest.error()));
}

void ImageSource::start(const std::shared_ptr<Job>& job, bool is_fetched) {
  const std::weak_ptr<Job> weak = job;
  const bool is_queued = worker_.run(
      loop_, [this, job] { run(job); },
      [this, weak] {
        if (const auto waiting = weak.lock()) finish(waiting);
      });
  if (is_queued) return;
  job->result.emplace(Error{Errc::LimitExceeded, "too many images at once"});
  if (is_fetched) return finish(job);
  loop_.post([this, weak] {
    if (const auto waiting = weak.lock()) finish(waiting);
  });
}

void ImageSource::finish(const std::shared_ptr<Job>& job) {
  const std::shared_ptr<Job> kept = job;
  jobs_.remove(kept);
  const Done done = std::move(kept->done);
  Result<sandbox::UnpackedImage>& result = *kept->result;
  if (!result) return done(result.error());
  std::shared_ptr<Hold> held = hold(result->config.digest);
  done(Held{std::move(*result), std::move(held)});
}

std::shared_ptr<ImageSource::Hold> ImageSource::hold(const std::string& digest) {
  std::weak_ptr<Hold>& known = holds_[digest];
  std::shared_ptr<Hold> held = known.lock();
  if (held == nullptr) known = held = std::make_shared<Hold>(*this, digest);
  return held;
}

// Only while no image is on its way, and none begins before what goes is out of the way.
void ImageSource::collect() {
  collect_.start(jobs_.empty() && aside_.empty() ? kCollectEvery : kCollectSoon);
  if (!jobs_.empty() || is_collecting_ || !aside_.empty()) return;
  const auto settings = read_registry_settings(options_.registries_file);
  if (!settings || !open_store()) return;
  sandbox::ImageStore::KeepRules rules;
  for (const auto& [digest, held] : holds_) rules.held.push_back(digest);
  rules.unused_max = settings->images_unused_max;
  rules.bytes_max = settings->images_bytes_max;
  rules.now = loop_.clock().wall_now();
  const auto found = std::make_shared<std::vector<std::string>>();
  is_collecting_ = worker_.run(
      loop_,
      [this, rules, found] {
        if (auto aside = store_->set_aside(rules); aside) *found = std::move(*aside);
      },
      [this, found, alive = alive_] {
        if (!*alive) return;
        aside_ = std::move(*found);
        finish_collecting();
      });
}

void ImageSource::finish_collecting() {
  is_collecting_ = false;
  for (const auto& job : std::exchange(delayed_, {})) begin(job);
  remove_next();
}

// One after the other, so that an image that is wanted waits for one at most.
void ImageSource::remove_next() {
  if (aside_.empty()) return;
  const std::string name = std::move(aside_.back());
  aside_.pop_back();
  // What is left goes when the store is opened the next time.
  const bool is_queued = worker_.run(
      loop_, [this, name] { (void)store_->remove_aside(name).operator bool(); },
      [this, alive = alive_] {
        if (*alive) remove_next();
      });
  if (!is_queued) aside_.clear();
}

}  // namespace brokkr::workload
