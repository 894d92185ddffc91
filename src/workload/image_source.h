#pragma once

#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/callback.h"
#include "base/result.h"
#include "client/jetstream.h"
#include "io/loop.h"
#include "io/worker.h"
#include "sandbox/image.h"
#include "workload/image_bucket.h"
#include "workload/image_reference.h"
#include "workload/node_grants.h"
#include "workload/registry.h"

namespace brokkr::workload {

// Turns the image URIs of run requests into folders a program can run on: fetches what is missing,
// checks it and unpacks it, on a thread of its own. One per node; everything is kept in `folder` for the
// next start, when a registry that cannot be reached is made good by what its tag meant last.
// Images nobody holds are removed by age and by room, between the starts of others. Loop-confined.
class ImageSource {
 public:
  struct Options {
    std::string folder;
    sandbox::UnpackLimits limits;
    std::string registries_file;  // see RegistrySettings; read for each image
  };
  // The store is opened with the first image, or at once where there is one already. `js` is for stored
  // images. All outlive the source.
  ImageSource(io::Loop& loop, client::JetStream js, Options options);
  // Cancels what runs; its callbacks are not called.
  ~ImageSource();
  ImageSource(const ImageSource&) = delete;
  ImageSource& operator=(const ImageSource&) = delete;

  // `done` is called once, not from within. Fails with InvalidArgument, NotFound, PermissionDenied,
  // Corrupt, Unsupported, LimitExceeded, OutOfSpace, Unavailable.
  struct Held {
    sandbox::UnpackedImage image;
    std::shared_ptr<void> hold;  // the image's files stay until this goes, at any time
  };
  using Done = Callback<void(Result<Held>)>;
  // What of the node an image may come from.
  struct Rights {
    NodeFolders folders;
    Callback<bool(const std::string& registry)> may_use_registry;  // with the node's credentials
  };
  void resolve(const std::string& ns, const std::string& uri, const Rights& rights, Done done);

 private:
  struct Job;
  class Hold;
  void begin(const std::shared_ptr<Job>& job);
  std::shared_ptr<Hold> hold(const std::string& digest);
  void collect();
  void finish_collecting();
  void remove_next();
  void run(const std::shared_ptr<Job>& job);
  void start(const std::shared_ptr<Job>& job, bool is_fetched);
  void finish(const std::shared_ptr<Job>& job);
  Status open_store();
  Result<std::string> pull(const Job& job);

  io::Loop& loop_;
  client::JetStream js_;
  Options options_;
  std::atomic<bool> is_cancelled_ = false;
  std::optional<sandbox::ImageStore> store_;
  std::list<std::shared_ptr<Job>> jobs_;
  std::map<std::string, std::weak_ptr<Hold>> holds_;  // by the manifest's digest
  bool is_collecting_ = false;
  std::vector<std::shared_ptr<Job>> delayed_;  // until what goes is out of the way
  std::vector<std::string> aside_;
  io::Timer collect_;
  // Tells holds that outlive the source.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  io::Worker worker_;  // last: it ends first
};

}  // namespace brokkr::workload
