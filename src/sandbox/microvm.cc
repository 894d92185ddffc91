#include "sandbox/microvm.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>

#include "base/bytes.h"
#include "io/worker.h"
#include "sandbox/elf.h"
#include "sandbox/image_files.h"
#include "sandbox/microvm_firecracker.h"
#include "sandbox/microvm_clock.h"
#include "sandbox/microvm_link.h"
#include "sandbox/microvm_qemu.h"
#include "sandbox/microvm_socket.h"
#include "sandbox/microvm_tree.h"
#include "sandbox/microvm_volume.h"
#include "sandbox/microvm_wire.h"
#include "sandbox/program_sockets.h"

namespace brokkr::sandbox {
namespace {

using microvm::GuestLink;
using wire::Kind;

constexpr auto kBootTimeoutKvm = std::chrono::seconds(10);  // one that works takes less than a second
constexpr auto kBootTimeoutEmulated = std::chrono::seconds(180);  // on a busy machine
constexpr size_t kConsoleKept = 4096;
constexpr size_t kVolumesOfMachine = 16;  // of the 24 devices QEMU's microvm has places for
// Of the monitor beside the guest's memory.
constexpr uint64_t kMonitorBytes = 320U << 20;
constexpr uint32_t kMonitorThreads = 64;
constexpr int kNotStarted = 127;
// Users of machines, by the number of their folder: beyond those of people, containers and systemd.
constexpr unsigned kJailUserFirst = 0x68000000;
constexpr unsigned kJailUsers = 0x08000000;

// A machine with one program. The monitor is a program of ours in a sandbox; the guest speaks through the
// link.
class MicroVm final : public Program {
 public:
  MicroVm(const ProgramDeps& deps, const MicroVmTools& tools, ProgramSpec spec, ProgramEvents events)
      : deps_(deps), tools_(tools), spec_(std::move(spec)), events_(std::move(events)),
        deadline_(deps.loop, [this] { on_deadline(); }), worker_("microvm") {}
  ~MicroVm() override;

  Status start();
  pid_t pid() const override { return monitor_ != nullptr && has_started_ ? monitor_->pid() : 0; }
  void stop(Duration grace) override;
  void signal(int number) override;
  void connect(uint16_t port, Callback<void(Result<int> fd)> handler) override;
  void execute(std::vector<std::string> command, Duration timeout,
               Callback<void(int exit_code, std::string output)> handler) override;
  ProgramUsage usage() const override { return usage_; }
  uint32_t layers() const override { return monitor_ != nullptr ? monitor_->layers() : 0; }
  std::string monitor() const override;

 private:
  Status make_folder();
  Status listen_for_monitor();
  // On the worker: the root and the volumes as images.
  Status make_disks();
  void on_disks(const Status& made);
  Status start_monitor();
  bool fall_back();
  std::string kvm_device() const;
  Status fill_jail(const microvm::Jail& jail, unsigned user);
  Status start_qemu(const microvm::Machine& machine, ProgramEvents events);
  Status start_firecracker(const microvm::Machine& machine, ProgramEvents events);
  void on_monitor(uint32_t ready);
  void take_link(int fd);
  void send_spec();
  void on_frame(const wire::Frame& frame);
  void on_guest_exit(const wire::Frame& frame);
  void on_monitor_exit(const io::ExitStatus& status, bool is_memory_kill, const std::string& reason);
  void on_deadline();
  void fail(const std::string& why);
  void end_monitor();
  void finish(const io::ExitStatus& status, bool is_memory_kill, const std::string& reason);
  std::string console_tail() const;

  const ProgramDeps deps_;
  MicroVmTools tools_;
  const ProgramSpec spec_;
  ProgramEvents events_;
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);
  std::string folder_;  // of this machine's files; gone with it
  std::vector<microvm::Disk> disks_;  // the root first
  uint64_t counter_khz_ = 0;
  image::OwnedFd network_;  // of Firecracker, which has none to see
  std::unique_ptr<WatchedSocket> listener_;
  std::unique_ptr<Program> monitor_;
  std::unique_ptr<GuestLink> link_;
  io::Timer deadline_;  // of the boot, then of a stop
  bool is_stopping_ = false;
  bool has_started_ = false;
  bool is_finished_ = false;
  std::string kvm_failure_;  // why KVM was given up for this machine
  std::shared_ptr<std::atomic<bool>> is_over_ = std::make_shared<std::atomic<bool>>(false);  // tells the worker
  std::optional<io::ExitStatus> guest_exit_;
  bool guest_memory_kill_ = false;
  std::string failure_;
  std::string console_;
  ProgramUsage usage_;
  std::map<uint32_t, Callback<void(int, std::string)>> commands_;
  uint32_t next_command_ = 1;
  io::Worker worker_;  // last: what it does uses the rest
};

MicroVm::~MicroVm() {
  *is_alive_ = false;
  *is_over_ = true;
  link_.reset();
  monitor_.reset();
  listener_.reset();
  if (folder_.empty()) return;
  const size_t slash = folder_.rfind('/');
  const image::OwnedFd parent(open(folder_.substr(0, slash).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  (void)image::remove_tree(parent.get(), folder_.substr(slash + 1)).operator bool();
}

Status MicroVm::make_folder() {
  const char* temporary = std::getenv("TMPDIR");
  std::string base = !tools_.work_folder.empty() ? tools_.work_folder : temporary != nullptr && *temporary != 0 ? temporary : "/tmp";
  if (!tools_.work_folder.empty()) {
    if (Status made = image::make_folders(base); !made) return made;
  }
  folder_ = base + "/brokkr-vm-XXXXXX";
  if (mkdtemp(folder_.data()) == nullptr) {
    folder_.clear();
    return system_error("make a folder for a virtual machine", errno);
  }
  const std::string shared = folder_ + microvm::kInnerFolder;
  if (mkdir(shared.c_str(), 0755) != 0) return system_error(shared.c_str(), errno);
  chmod(shared.c_str(), 0755);
  return {};
}

// Before the monitor starts, so that it never waits.
Status MicroVm::listen_for_monitor() {
  const std::string path = folder_ + microvm::kInnerFolder + "/" + microvm::kSocketName;
  auto fd = microvm::listen_unix(path);
  if (!fd) return fd.error();
  listener_ = std::make_unique<WatchedSocket>(deps_.loop, *fd, [this](uint32_t ready) { on_monitor(ready); });
  chmod(path.c_str(), 0666);  // the monitor is nobody
  listener_->resume();
  return {};
}

Status MicroVm::make_disks() {
  auto tree = microvm::tree_of_root(spec_);
  if (!tree) return tree.error();
  disks_.push_back({folder_ + "/disk0", {}, false, {}});
  if (auto written = microvm::write_tree_image(*tree, disks_[0].path); !written) return written.error();
  for (const Bind& bind : spec_.binds) {
    auto volume = microvm::open_volume(bind, folder_, "disk" + std::to_string(disks_.size()));
    if (!volume) return volume.error();
    disks_.push_back(std::move(*volume));
  }
  if (tools_.kind != MicroVmKind::Firecracker) counter_khz_ = microvm::counter_khz();
  return {};
}

Status MicroVm::start() {
  if (Status made = make_folder(); !made) return made;
  if (Status listening = listen_for_monitor(); !listening) return listening;
  auto made = std::make_shared<Status>();
  worker_.run(
      deps_.loop, [this, made] { *made = make_disks(); },
      [this, made, alive = is_alive_] {
        if (*alive) on_disks(*made);
      });
  return {};
}

void MicroVm::on_disks(const Status& made) {
  if (is_stopping_) return finish({true, SIGKILL}, false, "stopped before it started");
  if (!made) return finish({false, kNotStarted}, false, made.error().text);
  if (Status started = start_monitor(); !started) finish({false, kNotStarted}, false, started.error().text);
}

Status MicroVm::start_monitor() {
  deadline_.start(tools_.kind == MicroVmKind::QemuEmulated ? Duration(kBootTimeoutEmulated) : Duration(kBootTimeoutKvm));
  microvm::Machine machine = microvm::size_machine(spec_.limits);
  machine.counter_khz = counter_khz_;
  machine.io_bytes_per_second = spec_.limits.io_bytes_per_second;
  for (const microvm::Disk& disk : disks_) machine.disks.push_back({disk.is_writable});
  ProgramEvents events;
  events.on_started = [](pid_t, uint32_t) {};
  events.on_output = [this](OutputStream, std::string_view bytes) {
    console_.append(bytes);
    if (console_.size() > 2 * kConsoleKept) console_.erase(0, console_.size() - kConsoleKept);
  };
  events.on_connection = [](size_t, int fd) { close(fd); };
  events.on_exit = [this](const io::ExitStatus& status, bool is_memory_kill, const std::string& reason) {
    on_monitor_exit(status, is_memory_kill, reason);
  };
  return tools_.kind == MicroVmKind::Firecracker ? start_firecracker(machine, std::move(events))
                                                 : start_qemu(machine, std::move(events));
}

// What the machine is given lies in its jail under names of ours: linked where that goes, as copies take time and
// a volume has to be the file itself.
Status MicroVm::fill_jail(const microvm::Jail& jail, unsigned user) {
  if (Status made = image::make_folders(jail.root); !made) return made;
  const auto put = [](const std::string& from, const std::string& to, bool may_copy) -> Status {
    if (link(from.c_str(), to.c_str()) == 0) return {};
    if (!may_copy) return system_error((from + " into a jail").c_str(), errno);
    std::error_code failure;
    std::filesystem::copy_file(from, to, failure);
    if (failure) return Error{Errc::System, from + ": " + failure.message()};
    chmod(to.c_str(), 0644);
    return {};
  };
  if (Status done = put(tools_.kernel, jail.kernel(), true); !done) return done;
  if (Status done = put(tools_.initramfs, jail.initramfs(), true); !done) return done;
  for (size_t i = 0; i < disks_.size(); ++i) {
    if (Status done = put(disks_[i].path, jail.disk(i), !disks_[i].is_writable); !done) return done;
  }
  if (chown(jail.root.c_str(), user, user) != 0) return system_error(jail.root.c_str(), errno);
  return {};
}

// The jailer is the sandbox: own root, user, network and /dev/kvm for the monitor alone.
Status MicroVm::start_firecracker(const microvm::Machine& machine, ProgramEvents events) {
  struct stat about {};
  if (stat(folder_.c_str(), &about) != 0) return system_error(folder_.c_str(), errno);
  auto network = microvm::make_empty_network();
  if (!network) return network.error();
  network_ = std::move(network->fd);
  microvm::JailerOrder order{tools_.jailer, tools_.monitor, folder_ + "/jail", "vm-" + folder_.substr(folder_.rfind('-') + 1),
                             kJailUserFirst + static_cast<unsigned>(about.st_ino % kJailUsers), network->path};
  const microvm::Jail jail = microvm::make_jail(order.base, order.monitor, order.id);
  if (Status filled = fill_jail(jail, order.uid); !filled) return filled;
  ProgramSpec spec;
  spec.name = spec_.name;
  spec.executable = tools_.jailer;
  spec.arguments = microvm::jailer_arguments(order);
  spec.limits.memory_bytes = machine.memory_bytes + kMonitorBytes;
  spec.limits.cpu_millis = spec_.limits.cpu_millis;
  std::vector<uint16_t> ports;
  auto started = start_program_unconfined(deps_, std::move(spec), std::move(events), ports);
  if (!started) return started.error();
  monitor_ = std::move(*started);
  auto link = std::make_shared<Result<int>>(-1);
  worker_.run(
      deps_.loop,
      [jail, machine, link, is_over = is_over_] {
        const Status told = microvm::configure_firecracker(jail.api(), machine, kBootTimeoutKvm, *is_over);
        *link = told ? microvm::connect_vsock(jail.vsock(), microvm::kGuestVsockPort, kBootTimeoutKvm, *is_over) : told.error();
      },
      [this, link, alive = is_alive_, is_over = is_over_] {
        if (!*alive || *is_over) {
          if (*link) close(**link);
          return;
        }
        if (*link) return take_link(**link);
        failure_ = link->error().text;
        end_monitor();
      });
  return {};
}

// The monitor is nobody, who may not open the host's: root makes it a node of its own.
std::string MicroVm::kvm_device() const {
  const std::string node = folder_ + "/kvm";
  struct stat about {};
  if (geteuid() != 0 || stat("/dev/kvm", &about) != 0) return "/dev/kvm";
  if (mknod(node.c_str(), S_IFCHR | 0666, about.st_rdev) != 0 && errno != EEXIST) return "/dev/kvm";
  chmod(node.c_str(), 0666);
  return node;
}

Status MicroVm::start_qemu(const microvm::Machine& machine, ProgramEvents events) {
  ProgramSpec spec;
  spec.name = spec_.name;
  spec.executable = tools_.monitor;
  spec.arguments = microvm::qemu_arguments(tools_.kind, tools_.monitor, machine);
  spec.environment = {"TMPDIR=/tmp"};
  spec.policy = spec_.policy;
  spec.layers_off = spec_.layers_off;
  spec.limits.memory_bytes = machine.memory_bytes + kMonitorBytes;
  spec.limits.cpu_millis = spec_.limits.cpu_millis;
  spec.limits.pids = kMonitorThreads;
  spec.limits.io_bytes_per_second = spec_.limits.io_bytes_per_second;
  spec.binds = {{folder_ + microvm::kInnerFolder, microvm::kInnerFolder, true},
                {tools_.initramfs, microvm::kInnerInitramfs, false},
                {tools_.kernel, microvm::kInnerKernel, false},
                {tools_.firmware, microvm::kInnerFirmware, false}};
  for (size_t i = 0; i < disks_.size(); ++i) spec.binds.push_back({disks_[i].path, microvm::inner_disk(i), disks_[i].is_writable});
  if (tools_.kind == MicroVmKind::QemuKvm) spec.binds.push_back({kvm_device(), "/dev/kvm", true, true});
  auto started = start_program(deps_, std::move(spec), std::move(events));
  if (!started) return started.error();
  monitor_ = std::move(*started);
  return {};
}

// The monitor has connected.
void MicroVm::on_monitor(uint32_t) {
  const int fd = accept4(listener_->fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  if (link_ != nullptr) {
    close(fd);
    return;
  }
  take_link(fd);
}

void MicroVm::take_link(int fd) {
  GuestLink::Events events;
  events.on_greeting = [this] {
    // It is KVM that failed, now that the machine comes up without.
    if (!kvm_failure_.empty()) remember_kvm_failure(tools_.folder, kvm_failure_);
    send_spec();
  };
  events.on_frame = [this](const wire::Frame& frame) { on_frame(frame); };
  events.on_connection = [this](uint32_t listener, int connection) {
    if (listener < spec_.listeners.size() && events_.on_connection) {
      events_.on_connection(listener, connection);
    } else {
      close(connection);
    }
  };
  events.on_lost = [this](const std::string& why) {
    if (failure_.empty() && !guest_exit_) failure_ = why;
    end_monitor();
  };
  link_ = std::make_unique<GuestLink>(deps_.loop, fd, wire::kLinkWindowBytes, std::move(events));
}

void MicroVm::send_spec() {
  wire::Spec spec;
  spec.host_name = spec_.name;
  spec.hosts = "127.0.0.1 localhost " + spec_.name + "\n";
  for (const InnerListener& listener : spec_.listeners) {
    if (!listener.host_name.empty()) spec.hosts += listener.address + " " + listener.host_name + "\n";
    spec.listeners.emplace_back(listener.address, listener.port);
  }
  spec.user = spec_.user;
  spec.working_folder = spec_.working_folder;
  spec.arguments = spec_.arguments;
  if (!spec_.executable.empty()) {
    spec.arguments[0] = "/app/" + spec_.executable.substr(spec_.executable.rfind('/') + 1);
  }
  spec.environment = spec_.environment;
  spec.pids = spec_.limits.pids;
  spec.disk_bytes = spec_.limits.disk_bytes;
  for (size_t i = 0; i < disks_.size(); ++i) {
    spec.disks.push_back({microvm::disk_serial(i), disks_[i].target, disks_[i].is_writable});
  }
  link_->send(Kind::Spec, 0, wire::encode(spec));
}

void MicroVm::on_frame(const wire::Frame& frame) {
  wire::Decoder in(frame.payload);
  switch (frame.kind) {
    case Kind::Started:
      if (has_started_) return;
      has_started_ = true;
      if (!is_stopping_) deadline_.stop();
      // It may destroy us, which the link does not bear now.
      deps_.loop.post([this, alive = is_alive_] {
        if (*alive && events_.on_started) events_.on_started(pid(), layers());
      });
      return;
    case Kind::Failed:
      guest_exit_ = io::ExitStatus{false, kNotStarted};
      failure_ = frame.payload.substr(0, kConsoleKept);
      return end_monitor();
    case Kind::Output:
      if (events_.on_output) events_.on_output(frame.stream == 2 ? OutputStream::Stderr : OutputStream::Stdout, frame.payload);
      return;
    case Kind::Exit: return on_guest_exit(frame);
    case Kind::Executed: {
      const auto found = commands_.find(frame.stream);
      if (found == commands_.end()) return;
      const auto code = static_cast<int>(in.u32());
      deps_.loop.post([call = std::move(found->second), code, output = std::string(in.rest())] { call(code, output); });
      commands_.erase(found);
      return;
    }
    case Kind::Usage:
      usage_.memory_bytes = in.u64();
      usage_.cpu_ns = in.u64();
      usage_.pids = in.u32();
      return;
    default: return;
  }
}

void MicroVm::on_guest_exit(const wire::Frame& frame) {
  wire::Decoder in(frame.payload);
  const bool is_signalled = in.u32() != 0;
  guest_exit_ = io::ExitStatus{is_signalled, static_cast<int>(in.u32() & 0xFFU)};
  guest_memory_kill_ = in.u32() != 0;
  end_monitor();
}

void MicroVm::end_monitor() {
  if (monitor_ != nullptr) monitor_->signal(SIGKILL);
}

void MicroVm::on_deadline() {
  if (!is_stopping_) failure_ = "the virtual machine did not come up";
  if (monitor_ != nullptr) return end_monitor();
  is_stopping_ = true;  // ends when packing has
}

std::string MicroVm::console_tail() const {
  std::string tail = console_.substr(console_.size() - std::min<size_t>(console_.size(), 300));
  std::replace_if(tail.begin(), tail.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
  return tail.empty() ? "nothing on its console" : tail;
}

// A machine that did not come up with KVM is tried once more without. True when that is under way.
bool MicroVm::fall_back() {
  if (is_stopping_ || has_started_ || guest_exit_ || tools_.kind == MicroVmKind::QemuEmulated) return false;
  MicroVmTools emulated = find_microvm_tools(tools_.folder, false);
  if (emulated.kind != MicroVmKind::QemuEmulated) return false;
  kvm_failure_ = std::string(to_string(tools_.kind)) + ": " + failure_;
  deps_.log.warn("microVM of " + spec_.name + " did not come up, it is emulated instead: " + kvm_failure_);
  emulated.work_folder = tools_.work_folder;
  tools_ = std::move(emulated);
  failure_.clear();
  console_.clear();
  is_over_ = std::make_shared<std::atomic<bool>>(false);
  // The monitor and the link are what is calling.
  deps_.loop.post([this, alive = is_alive_] {
    if (!*alive || is_finished_) return;
    link_.reset();
    monitor_.reset();
    if (is_stopping_) return finish({true, SIGKILL}, false, "stopped before it started");
    if (Status started = start_monitor(); !started) finish({false, kNotStarted}, false, started.error().text);
  });
  return true;
}

std::string MicroVm::monitor() const {
  return to_string(tools_.kind) + std::string(kvm_failure_.empty() ? "" : ", as KVM did not boot it");
}

void MicroVm::on_monitor_exit(const io::ExitStatus& status, bool is_memory_kill, const std::string& reason) {
  *is_over_ = true;
  if (failure_.empty()) failure_ = reason;
  if (fall_back()) return;
  if (guest_exit_) return finish(*guest_exit_, guest_memory_kill_, failure_);
  if (is_stopping_ && has_started_) return finish({true, SIGKILL}, false, {});
  std::string why = !failure_.empty() ? failure_ : !reason.empty() ? reason : status.text();
  if (!has_started_) return finish({false, kNotStarted}, is_memory_kill, "the virtual machine: " + why + "; " + console_tail());
  finish(status, is_memory_kill, "the virtual machine ended: " + why);
}

void MicroVm::finish(const io::ExitStatus& status, bool is_memory_kill, const std::string& reason) {
  if (is_finished_) return;
  is_finished_ = true;
  deadline_.stop();
  disks_.clear();  // whoever hears of the end may start the next machine with them at once
  for (auto& [number, handler] : commands_) {
    deps_.loop.post([call = std::move(handler)] { call(-1, "the program has ended"); });
  }
  commands_.clear();
  const auto call = std::move(events_.on_exit);
  if (call) call(status, is_memory_kill, reason);
}

void MicroVm::stop(Duration grace) {
  if (is_finished_) return;
  is_stopping_ = true;
  if (monitor_ == nullptr) return;  // still packing
  if (link_ == nullptr || !has_started_ || grace <= Duration::zero()) return end_monitor();
  link_->send(Kind::Signal, 0, wire::Encoder().u32(SIGTERM).bytes());
  deadline_.start(grace);
}

void MicroVm::signal(int number) {
  if (link_ == nullptr || !has_started_) return;
  if (number == SIGKILL) return end_monitor();
  link_->send(Kind::Signal, 0, wire::Encoder().u32(static_cast<uint32_t>(number)).bytes());
}

void MicroVm::connect(uint16_t port, Callback<void(Result<int> fd)> handler) {
  if (link_ != nullptr && has_started_) return link_->connect(port, std::move(handler));
  deps_.loop.post([call = std::move(handler)] { call(Error{Errc::Unavailable, "the virtual machine is not up"}); });
}

void MicroVm::execute(std::vector<std::string> command, Duration timeout,
                      Callback<void(int exit_code, std::string output)> handler) {
  if (link_ == nullptr || !has_started_ || is_finished_) {
    deps_.loop.post([call = std::move(handler)] { call(-1, "the virtual machine is not up"); });
    return;
  }
  const uint32_t number = next_command_++;
  commands_[number] = std::move(handler);
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count();
  link_->send(Kind::Execute, number, wire::Encoder().u32(static_cast<uint32_t>(milliseconds)).texts(command).bytes());
}

Status check_machine(const MicroVmTools& tools, const ProgramSpec& spec) {
  if (tools.kind == MicroVmKind::None) return Error{Errc::Unsupported, "no microVMs here: " + tools.missing};
  if (spec.binds.size() > kVolumesOfMachine) {
    return Error{Errc::LimitExceeded, "a microVM has at most " + std::to_string(kVolumesOfMachine) + " volumes"};
  }
  if (spec.arguments.empty()) return Error{Errc::InvalidArgument, "no command"};
  if (spec.executable.empty() && spec.root.empty() && spec.lower.empty()) {
    return Error{Errc::InvalidArgument, "neither a program nor an image"};
  }
  if (spec.executable.empty()) return {};
  auto needs = needs_interpreter(spec.executable);
  if (!needs) return needs.error();
  if (*needs) return Error{Errc::Unsupported, "in a microVM a program is linked statically or part of an image"};
  return {};
}

}  // namespace

Result<std::unique_ptr<Program>> start_microvm(const ProgramDeps& deps, const MicroVmTools& tools, ProgramSpec spec,
                                               ProgramEvents events) {
  if (Status fits = check_machine(tools, spec); !fits) return fits.error();
  auto machine = std::make_unique<MicroVm>(deps, tools, std::move(spec), std::move(events));
  if (Status started = machine->start(); !started) return started.error();
  return std::unique_ptr<Program>(std::move(machine));
}

}  // namespace brokkr::sandbox
