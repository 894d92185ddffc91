#include "workload/program_factory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "client/jetstream.h"
#include "sandbox/microvm.h"
#include "sandbox/program.h"
#include "workload/folders.h"
#include "workload/gate.h"
#include "workload/gate_connection.h"
#include "workload/program_file.h"

namespace brokkr::workload {
namespace {

constexpr mode_t kProgramMode = 0555;
// Whoever the program is in its sandbox may write there; the folder above is for the node alone.
constexpr mode_t kVolumeMode = 0777;
constexpr size_t kCopyBytes = 16U << 20;
constexpr const char* kMachinesFolder = "/machines";
constexpr const char* kSharedMicroVmFolder = "/var/lib/brokkr/microvm";

// A program under the name it is to have, executable, for as long as this lives. The bytes are those
// of the artifact cache, which may forget them meanwhile.
class PlacedProgram {
 public:
  static Result<std::shared_ptr<PlacedProgram>> make(const std::string& artifact,
                                                     const std::string& folder,
                                                     const std::string& name) {
    if (Status s = make_folders(folder); !s) return s.error();
    std::shared_ptr<PlacedProgram> placed(new PlacedProgram(folder, folder + "/" + name));
    if (link(artifact.c_str(), placed->path_.c_str()) != 0) {
      if (Status s = copy(artifact, placed->path_); !s) return s.error();
    }
    if (chmod(placed->path_.c_str(), kProgramMode) != 0) {
      return system_error(("chmod " + placed->path_).c_str(), errno);
    }
    return placed;
  }
  ~PlacedProgram() {
    unlink(path_.c_str());
    rmdir(folder_.c_str());
  }
  PlacedProgram(const PlacedProgram&) = delete;
  PlacedProgram& operator=(const PlacedProgram&) = delete;
  const std::string& path() const { return path_; }

 private:
  PlacedProgram(std::string folder, std::string path)
      : folder_(std::move(folder)), path_(std::move(path)) {}

  static Status copy(const std::string& from, const std::string& to) {
    const int in = open(from.c_str(), O_RDONLY | O_CLOEXEC);
    if (in < 0) return system_error(("open " + from).c_str(), errno);
    const int out = open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kProgramMode);
    ssize_t n = out < 0 ? -1 : 1;
    while (n > 0) n = sendfile(out, in, nullptr, kCopyBytes);
    const int error = errno;
    close(in);
    if (out >= 0) close(out);
    if (n < 0) return system_error(("copy to " + to).c_str(), error);
    return {};
  }

  const std::string folder_;
  const std::string path_;
};

// Two levels: <id>/<program>.
void remove_leftovers(const std::string& folder, int levels) {
  DIR* directory = opendir(folder.c_str());
  if (directory == nullptr) return;
  while (const dirent* entry = readdir(directory)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::string path = folder + "/" + name;
    if (unlink(path.c_str()) == 0 || levels == 0) continue;
    remove_leftovers(path, levels - 1);
    rmdir(path.c_str());
  }
  closedir(directory);
}

// A microVM keeps a volume as a disk, which nothing on the host mounts: neither kind of sandbox sees what a program
// in the other has written.
Status check_volume_kind(const std::string& volume, const std::string& name, bool is_machine) {
  std::error_code failure;
  const bool is_disk = access(sandbox::volume_disk_of(volume).c_str(), F_OK) == 0;
  const bool has_files = !std::filesystem::is_empty(volume, failure) && !failure;
  if (!is_machine && is_disk) {
    return Error{Errc::Unsupported, "the volume " + name + " is a disk of a microVM, which other sandboxes cannot read: give it another name"};
  }
  if (is_machine && !is_disk && has_files) {
    return Error{Errc::Unsupported, "the volume " + name + " holds files of a program in another sandbox, which a microVM cannot read: give it another name"};
  }
  return {};
}

bool has_ipv6() { return access("/proc/net/if_inet6", F_OK) == 0; }

// What tools/microvm.sh made: for this node, or for the machine.
sandbox::MicroVmTools microvm_tools(const std::string& data_folder) {
  auto tools = sandbox::find_microvm_tools(data_folder + "/microvm");
  if (tools.kind == sandbox::MicroVmKind::None) {
    auto shared = sandbox::find_microvm_tools(kSharedMicroVmFolder);
    if (shared.kind != sandbox::MicroVmKind::None) tools = std::move(shared);
  }
  tools.work_folder = data_folder + kMachinesFolder;
  return tools;
}

ProgramWorkload::Start starter_of(const sandbox::ProgramDeps& deps, Isolation isolation,
                                  std::shared_ptr<void> placed,
                                  const std::string& data_folder) {
  if (isolation == Isolation::MicroVm) {
    return [deps, placed, data_folder](sandbox::ProgramSpec spec, sandbox::ProgramEvents events) {
      return sandbox::start_microvm(deps, microvm_tools(data_folder), std::move(spec), std::move(events));
    };
  }
  if (isolation == Isolation::None) {
    return [deps, placed](sandbox::ProgramSpec spec, sandbox::ProgramEvents events) {
      std::vector<uint16_t> ports;
      return sandbox::start_program_unconfined(deps, std::move(spec), std::move(events), ports);
    };
  }
  return [deps, placed](sandbox::ProgramSpec spec, sandbox::ProgramEvents events) {
    return sandbox::start_program(deps, std::move(spec), std::move(events));
  };
}

}  // namespace

ProgramFactory::ProgramFactory(const Deps& deps)
    : deps_(deps), ports_(deps.loop), launchers_(deps.loop, deps.options.executable) {
  ImageSource::Options images;
  images.folder = deps_.options.data_folder + "/images";
  images.registries_file = deps_.options.data_folder + "/registries.json";
  images_ = std::make_unique<ImageSource>(deps_.loop, client::JetStream(deps_.connection),
                                          std::move(images));
  remove_leftovers(deps_.options.data_folder + "/programs", 1);
  std::error_code ignored;
  std::filesystem::remove_all(deps_.options.data_folder + kMachinesFolder, ignored);
}

ProgramFactory::~ProgramFactory() = default;

bool ProgramFactory::is_program_type(std::string_view type) {
  return type == "native" || type == "oci" || type == "microvm";
}

Status ProgramFactory::check(const RunRequest& run, std::string_view lifecycle) const {
  if (Status s = check_program(run, lifecycle); !s) return s;
  const auto egress = EgressPolicy::parse(run.egress, false);
  if (egress && run.isolation != Isolation::None && needs_ipv6(*egress) && !has_ipv6()) {
    return Error{Errc::Unsupported, "egress to IPv6 addresses: this machine has no IPv6"};
  }
  if (run.isolation == Isolation::MicroVm) {
    const auto tools = microvm_tools(deps_.options.data_folder);
    if (tools.kind == sandbox::MicroVmKind::None) {
      return Error{Errc::Unsupported, "this node runs no microVMs: " + tools.missing};
    }
  }
  if (run.isolation == Isolation::None && !deps_.options.allows_unconfined) {
    return Error{Errc::PermissionDenied,
                 "this node runs nothing without a sandbox: it was not started with --sandbox=off"};
  }
  return {};
}

std::vector<NodeCheck> ProgramFactory::microvm_checks() const {
  std::vector<NodeCheck> out;
  for (auto& check : sandbox::check_microvms({deps_.options.data_folder + "/microvm", kSharedMicroVmFolder})) {
    out.push_back({std::move(check.name), sandbox::to_string(check.state), std::move(check.details)});
  }
  return out;
}

ProgramDefaults ProgramFactory::defaults() const {
  ProgramDefaults defaults;
  defaults.log_lines_per_second = deps_.options.limits.log_lines_per_second;
  defaults.policy = deps_.options.sandbox;
  defaults.data_folder = deps_.options.data_folder;
  defaults.has_ipv6 = has_ipv6();
  return defaults;
}

Status ProgramFactory::make_volumes(const WorkloadIdentity& identity, const RunRequest& run) const {
  const std::string folder =
      deps_.options.data_folder + "/volumes/" + identity.ns + "/" + identity.name;
  const bool is_machine = run.isolation == Isolation::MicroVm || identity.workload_type == "microvm";
  for (const auto& [name, path] : run.volumes) {
    const std::string volume = folder + "/" + name;
    const bool is_shown = is_machine && !parse_volume_place(path).is_writable;
    if (Status s = is_shown ? Status() : check_volume_kind(volume, name, is_machine); !s) return s;
    if (Status s = make_folders(volume); !s) return s;
    if (chmod(volume.c_str(), kVolumeMode) != 0) {
      return system_error(("chmod " + volume).c_str(), errno);
    }
  }
  return {};
}

Result<ProgramPlan> ProgramFactory::plan_executable(const Order& order,
                                                   std::shared_ptr<void>& kept) const {
  auto plan = plan_program(order.identity, order.run, {order.artifact_file, {}, false}, defaults());
  if (!plan) return plan.error();
  const auto file = inspect_program(order.artifact_file);
  if (!file) return file.error();
  if (file->is_script && plan->isolation != Isolation::None) {
    return Error{Errc::Unsupported, "the program is a script and " + file->interpreter +
                                        " is not in its sandbox: use an image"};
  }
  auto placed = PlacedProgram::make(order.artifact_file,
                                    deps_.options.data_folder + "/programs/" + order.identity.id,
                                    plan->file_name);
  if (!placed) return placed.error();
  plan->spec.executable = (*placed)->path();
  kept = std::move(*placed);
  return plan;
}

ProgramWorkload::Prepare ProgramFactory::image_of(const Order& order) {
  return [this, identity = order.identity, run = order.run](ProgramWorkload::Prepared done) {
    const ImageSource::Rights rights{
        node_folders_of(identity.ns, deps_.options.node_files, deps_.namespaces.records),
        [this, ns = identity.ns](const std::string& registry) {
          return may_use_registry_of_node(registry, ns, deps_.namespaces.records);
        }};
    images_->resolve(identity.ns, run.uri, rights,
                     [identity, run, defaults = defaults(),
                      done = std::move(done)](Result<ImageSource::Held> held) {
                       if (!held) return done(held.error(), "");
                       std::string digest = held->image.config.digest;
                       digest.erase(0, digest.find(':') + 1);
                       auto plan = plan_program(identity, run, {"", std::move(held->image), false}, defaults);
                       if (plan) plan->held = std::move(held->hold);
                       done(std::move(plan), digest);
                     });
  };
}

Result<std::unique_ptr<Workload>> ProgramFactory::make(
    Order order, const Namespaces& namespaces, WorkloadEvents events,
    client::DoneHandler on_live) {
  const WorkloadIdentity& identity = order.identity;
  if (Status s = check(order.run, identity.workload_lifecycle); !s) return s.error();
  if (Status s = make_volumes(identity, order.run); !s) return s.error();
  ProgramWorkload::Options options;
  std::shared_ptr<void> kept;
  const bool is_image = order.artifact_file.empty();
  if (is_image && order.run.isolation == Isolation::None) {
    return Error{Errc::Unsupported, "an image needs a sandbox"};
  }
  auto plan = is_image ? plan_program(identity, order.run, {"", {}, true}, defaults())
                       : plan_executable(order, kept);
  if (!plan) return plan.error();
  if (is_image) options.prepare = image_of(order);
  options.start = starter_of({deps_.loop, deps_.log, deps_.cgroups, deps_.options.executable,
                              &launchers_},
                             plan->isolation, std::move(kept), deps_.options.data_folder);
  options.make_gate = [deps = deps_](Gate::Options gate) {
    gate.upstream = copy_options(deps.options.connection);
    return Gate::make({deps.loop, deps.resolver, deps.random, deps.log}, std::move(gate));
  };
  options.grants = std::move(order.run.grants);
  options.namespaces = namespaces;
  options.plan = std::move(*plan);
  options.identity = std::move(order.identity);
  auto workload = ProgramWorkload::make(
      {deps_.loop, deps_.resolver, deps_.random, deps_.log, deps_.connection, ports_, deps_.v1_feed},
      std::move(options), std::move(events), std::move(on_live));
  if (!workload) return workload.error();
  return std::unique_ptr<Workload>(std::move(*workload));
}

}  // namespace brokkr::workload
