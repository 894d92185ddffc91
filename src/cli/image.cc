// brokkr image: images in the object store, for workloads of the type oci.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "base/bytes.h"
#include "cli/bucket.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/workload_client.h"
#include "client/object_store.h"
#include "workload/image_bucket.h"

namespace brokkr::cli {
namespace {

constexpr uint64_t kTagBytesMax = 1U << 20;

// A folder that goes with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const char* base = std::getenv("TMPDIR");
    path_ = std::string(base != nullptr && *base != 0 ? base : "/tmp") + "/brokkr-image-XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) path_.clear();
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct ImageTask {
  BucketApi api;
  client::ObjectStore store;
};

// The images of the namespace. Absent when there is no bucket and none is to be made.
Result<std::optional<ImageTask>> open_images(const Context& context, const Values& values, bool makes) {
  const std::string ns = values.text("namespace");
  auto api = BucketApi::open(context, values);
  if (!api) return api.error();
  const std::string name = workload::images_bucket(ns);
  auto opened = client::wait_for<client::ObjectStore>(api->session().loop(), [&](auto done) {
    client::ObjectStore::open(api->jetstream(), name, std::move(done));
  });
  if (!opened && opened.error().err_code == client::kStreamNotFoundError && makes) {
    client::ObjectStoreConfig config;
    config.bucket = name;
    config.description = "images of namespace " + ns;
    config.num_replicas = static_cast<int64_t>(std::max<uint64_t>(1, values.number("replicas")));
    opened = client::wait_for<client::ObjectStore>(api->session().loop(), [&](auto done) {
      client::ObjectStore::create(api->jetstream(), config, std::move(done));
    });
  }
  if (opened) return std::optional<ImageTask>(ImageTask{std::move(*api), std::move(*opened)});
  if (opened.error().err_code == client::kStreamNotFoundError) return std::optional<ImageTask>();
  return original_error(opened.error());
}

// What the user named: a URI, or a folder or file of this machine.
Result<workload::ImageUri> uri_of(const Values& values) {
  const std::string source = values.text("source");
  struct stat about {};
  if (stat(source.c_str(), &about) == 0) {
    workload::ImageUri uri;
    uri.kind = S_ISDIR(about.st_mode) ? workload::ImageUri::Kind::Folder : workload::ImageUri::Kind::Archive;
    uri.path = source;
    uri.reference = values.text("reference");
    return uri;
  }
  auto uri = workload::parse_image_uri(source);
  if (!uri && !workload::is_image_uri(source)) return Error{Errc::NotFound, source + " is not there"};
  if (uri && uri->kind == workload::ImageUri::Kind::Stored) return Error{Errc::InvalidArgument, source + " is stored already"};
  return uri;
}

// What it is to be called: --name, or what the source is called.
Result<std::string> name_of(const Values& values, const workload::ImageUri& uri) {
  std::string name = values.text("name");
  if (name.empty() && uri.kind == workload::ImageUri::Kind::Registry) {
    name = uri.registry.repository.substr(uri.registry.repository.rfind('/') + 1);
    if (!uri.registry.tag.empty()) name += ":" + uri.registry.tag;
  } else if (name.empty()) {
    name = std::filesystem::path(uri.path).lexically_normal().filename().string();
    name = name.substr(0, name.find('.'));
  }
  auto parsed = workload::parse_image_uri("image:" + name);
  if (!parsed) return Error{Errc::InvalidArgument, "'" + name + "' is no image name: use --name NAME[:TAG]"};
  return workload::image_object_name(parsed->name, parsed->reference);
}

workload::RegistryOptions registry_options(const Values& values) {
  workload::RegistryOptions options;
  options.ca_file = values.text("registry-ca");
  options.credentials_file = values.text("registry-config");
  if (const char* home = std::getenv("HOME"); options.credentials_file.empty() && home != nullptr) {
    options.credentials_file = std::string(home) + "/.docker/config.json";
  }
  options.allows_plain_loopback = values.is_on("plain-http");
  options.private_hosts = {"*"};  // the user's own machine asks
  return options;
}

Status put_blob(ImageTask& task, const workload::ImageTag::Blob& blob, const std::string& path) {
  auto there = client::wait_for<client::ObjectInfo>(task.api.session().loop(), [&](auto done) {
    task.store.info(blob.digest, std::move(done));
  });
  if (there && there->size == blob.size) return {};
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return system_error(path.c_str(), errno);
  client::ObjectMeta meta;
  meta.name = blob.digest;
  const auto stored = task.api.wait<client::ObjectInfo>([&](auto done) {
    task.store.put(
        meta,
        [fd](std::span<char> out) -> Result<size_t> {
          const ssize_t got = read(fd, out.data(), out.size());
          if (got < 0) return system_error("read", errno);
          return static_cast<size_t>(got);
        },
        std::move(done));
  });
  close(fd);
  return stored ? Status() : Status(stored.error());
}

Status import_image(const Context& context, const Values& values) {
  auto uri = uri_of(values);
  if (!uri) return uri.error();
  auto name = name_of(values, *uri);
  if (!name) return name.error();
  const TemporaryFolder folder;
  if (folder.path().empty()) return system_error("make a temporary folder", errno);
  const bool is_told = is_terminal_stderr();
  auto image = workload::import_image(folder.path(), *uri, registry_options(values),
                                      [&](const std::string& digest, uint64_t size) {
                                        if (is_told) remark("fetching " + digest.substr(0, 19) + " (" + format_bytes(size) + ")");
                                      });
  if (!image) return image.error();
  image->tag.source = values.text("source");
  auto task = open_images(context, values, true);
  if (!task) return task.error();
  for (size_t i = 0; i < image->paths.size(); ++i) {
    if (Status put = put_blob(**task, image->tag.blobs[i], image->paths[i]); !put) return put;
  }
  client::ObjectMeta meta;
  meta.name = *name;
  auto stored = (*task)->api.wait<client::ObjectInfo>([&](auto done) {
    (*task)->store.put_bytes(meta, workload::encode(image->tag), std::move(done));
  });
  if (!stored) return stored.error();
  print_line("image:" + *name + " " + image->tag.manifest + " " + format_bytes(image->tag.bytes()));
  return {};
}

int run_import(const Context& context, const Values& values) {
  const Status status = import_image(context, values);
  return status ? 0 : fail(context.program, status.error());
}

struct StoredImage {
  std::string name;
  WallTime modified{};
  workload::ImageTag tag;
};

Result<std::vector<StoredImage>> read_images(ImageTask& task, std::vector<client::ObjectInfo>& objects) {
  auto all = task.api.wait<std::vector<client::ObjectInfo>>([&](auto done) { task.store.list(std::move(done)); });
  if (!all) return all.error();
  objects = std::move(*all);
  std::vector<StoredImage> images;
  for (const client::ObjectInfo& object : objects) {
    if (!workload::is_image_object(object.name)) continue;
    auto text = task.api.wait<std::string>([&](auto done) { task.store.get_bytes(object.name, kTagBytesMax, std::move(done)); });
    if (!text) return text.error();
    auto tag = workload::decode_image_tag(*text);
    if (tag) images.push_back({object.name, object.mod_time, std::move(*tag)});
  }
  std::sort(images.begin(), images.end(), [](const StoredImage& a, const StoredImage& b) { return a.name < b.name; });
  return images;
}

Status list_images(const Context& context, const Values& values) {
  auto task = open_images(context, values, false);
  if (!task) return task.error();
  std::vector<client::ObjectInfo> objects;
  std::vector<StoredImage> images;
  if (*task) {
    auto read = read_images(**task, objects);
    if (!read) return read.error();
    images = std::move(*read);
  }
  if (values.is_on("names")) {
    for (const StoredImage& image : images) print_line(image.name);
    return {};
  }
  if (images.empty()) {
    print_line("No images found");
    return {};
  }
  Table table("Images of namespace " + values.text("namespace"));
  table.header({"Image", "Digest", "Size", "Platform", "Stored"});
  for (const StoredImage& image : images) {
    table.row({image.name, image.tag.manifest.substr(0, 19), format_bytes(image.tag.bytes()),
               "linux/" + image.tag.architecture, local_date_text(image.modified)});
  }
  print(table.text());
  return {};
}

int run_list_images(const Context& context, const Values& values) {
  const Status status = list_images(context, values);
  return status ? 0 : fail(context.program, status.error());
}

// The name goes first: a node that still has it then fetches blobs or finds none, never half of them as
// a whole.
Status remove_image(const Context& context, const Values& values) {
  auto uri = workload::parse_image_uri("image:" + values.text("image"));
  if (!uri) return uri.error();
  const std::string name = workload::image_object_name(uri->name, uri->reference);
  auto task = open_images(context, values, false);
  if (!task) return task.error();
  if (!*task) return Error{Errc::NotFound, "image " + name + " is not stored"};
  ImageTask& images = **task;
  std::vector<client::ObjectInfo> objects;
  auto all = read_images(images, objects);
  if (!all) return all.error();
  const auto is_it = [&](const StoredImage& image) { return image.name == name; };
  if (std::none_of(all->begin(), all->end(), is_it)) return Error{Errc::NotFound, "image " + name + " is not stored"};
  auto removed = images.api.wait<client::Done>([&](auto done) { images.store.remove(name, std::move(done)); });
  if (!removed) return removed.error();
  std::set<std::string> needed;
  for (const StoredImage& image : *all) {
    if (is_it(image)) continue;
    for (const workload::ImageTag::Blob& blob : image.tag.blobs) needed.insert(blob.digest);
  }
  uint64_t freed = 0;
  for (const client::ObjectInfo& object : objects) {
    if (workload::is_image_object(object.name) || needed.count(object.name) != 0) continue;
    auto gone = images.api.wait<client::Done>([&](auto done) { images.store.remove(object.name, std::move(done)); });
    if (!gone) return gone.error();
    freed += object.size;
  }
  print_line("removed " + name + ", " + format_bytes(freed) + " freed");
  return {};
}

int run_remove_image(const Context& context, const Values& values) {
  const Status status = remove_image(context, values);
  return status ? 0 : fail(context.program, status.error());
}

std::vector<Flag> import_flags() {
  return {namespace_flag(),
          {"name", "What it is called in the store", Kind::Text, "NAME[:TAG]"},
          {"reference", "Which image of a layout or archive with several", Kind::Text, "TAG"},
          {"replicas", "How many replicas of the store when it is made", Kind::Number, "", "1"},
          {"registry-ca", "Certificates to trust instead of the system's", Kind::Text, "FILE"},
          {"registry-config", "Credentials, in the form of Docker's config.json", Kind::Text, "FILE"},
          {"plain-http", "Ask registries on this machine without TLS"}};
}

}  // namespace

Command image_command() {
  Command import{"import", {"pull", "add"}, "Store an image for nodes to run"};
  import.description =
      "SOURCE is an OCI layout folder, an OCI or docker save archive, or docker://REGISTRY/REPO[:TAG|@DIGEST].\n"
      "Run it with the workload URI image:NAME[:TAG].";
  import.arguments = {{"source", "Folder, archive or docker:// reference"}};
  import.flags = import_flags();
  import.run = run_import;
  Command list{"list", {"ls"}, "List stored images"};
  list.flags = {namespace_flag(), {"names,n", "Show just the names"}};
  list.run = run_list_images;
  Command remove{"remove", {"rm"}, "Remove a stored image and what only it needs"};
  remove.arguments = {{"image", "NAME[:TAG]"}};
  remove.flags = {namespace_flag()};
  remove.run = run_remove_image;
  Command command{"image", {"images"}, "Manage images of the object store"};
  for (Command* one : {&import, &list, &remove}) command.subcommands.push_back(std::move(*one));
  return command;
}

}  // namespace brokkr::cli
