#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <string_view>

#include "base/bytes.h"
#include "sandbox/image_files.h"
#include "sandbox/kvm_probe.h"
#include "sandbox/microvm.h"

namespace brokkr::sandbox {
namespace {

constexpr const char* kFirmwarePlaces[] = {"/usr/share/qemu/bios-microvm.bin", "/usr/share/seabios/bios-microvm.bin",
                                           "/usr/local/share/qemu/bios-microvm.bin"};

constexpr std::string_view kMachineName = "microvm-machine";

std::string find_on_path(const std::string& name) {
  const char* path = std::getenv("PATH");
  const std::string folders = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
  for (const std::string_view folder : split(folders, ':')) {
    const std::string file = std::string(folder) + "/" + name;
    if (!folder.empty() && access(file.c_str(), X_OK) == 0) return file;
  }
  return {};
}

std::string real_path(const std::string& path) {
  char real[PATH_MAX];
  return realpath(path.c_str(), real) != nullptr ? std::string(real) : std::string();
}

std::string first_word(const std::string& path) {
  const image::OwnedFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return {};
  auto text = image::read_all(file.get(), 4096, path);
  if (!text) return {};
  return text->substr(0, text->find_first_of(" \n"));
}

bool is_readable(const std::string& path) { return !path.empty() && access(path.c_str(), R_OK) == 0; }

std::string accelerator_file(const std::string& folder) { return folder + "/accelerator"; }

// Folders in which a machine did not come up with KVM since this process started: the file may not be ours to write.
std::mutex g_failed_mutex;
std::set<std::string> g_failed_folders;

// A machine was seen not to boot with KVM.
bool has_kvm_failed(const std::string& folder) {
  {
    const std::lock_guard lock(g_failed_mutex);
    if (g_failed_folders.count(folder) != 0) return true;
  }
  return first_word(accelerator_file(folder)) == "tcg";
}

std::string find_firmware() {
  for (const char* place : kFirmwarePlaces) {
    if (is_readable(place)) return real_path(place);
  }
  return {};
}

bool find_firecracker(const std::string& folder, MicroVmTools& tools) {
  if (geteuid() != 0) return false;
  tools.monitor = real_path(find_on_path("firecracker"));
  tools.jailer = real_path(find_on_path("jailer"));
  tools.kernel = real_path(folder + "/vmlinux");
  tools.initramfs = real_path(folder + "/initramfs");
  return !tools.monitor.empty() && !tools.jailer.empty() && is_readable(tools.kernel) && is_readable(tools.initramfs);
}

// Machines are part of the program or of none of its files; starting it to ask takes longer than to look.
bool knows_microvm_machine(const std::string& monitor) {
  static std::mutex mutex;
  static std::map<std::string, bool> known;
  const std::lock_guard lock(mutex);
  const auto found = known.find(monitor);
  if (found != known.end()) return found->second;
  const image::OwnedFd file(open(monitor.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat about {};
  bool knows = false;
  if (file && fstat(file.get(), &about) == 0 && about.st_size > 0) {
    const auto size = static_cast<size_t>(about.st_size);
    void* bytes = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (bytes != MAP_FAILED) {
      knows = std::string_view(static_cast<const char*>(bytes), size).find(kMachineName) != std::string_view::npos;
      munmap(bytes, size);
    }
  }
  known[monitor] = knows;
  return knows;
}

using State = MicroVmCheck::State;

void check_qemu(std::vector<MicroVmCheck>& out) {
  const std::string monitor = real_path(find_on_path("qemu-system-x86_64"));
  if (monitor.empty()) {
    out.push_back({"qemu-system-x86_64", State::Missing, "apt-get install qemu-system-x86"});
    return;
  }
  out.push_back({"qemu-system-x86_64", State::Ok, monitor});
  const std::string firmware = find_firmware();
  if (!knows_microvm_machine(monitor)) {
    out.push_back({"qemu microvm machine", State::Missing, monitor + " has none: QEMU 4.2 or newer is needed"});
  } else if (firmware.empty()) {
    out.push_back({"qemu microvm machine", State::Missing, "no bios-microvm.bin: apt-get install qemu-system-data"});
  } else {
    out.push_back({"qemu microvm machine", State::Ok, firmware});
  }
}

void check_files(const std::string& folder, std::vector<MicroVmCheck>& out) {
  const auto row = [&](const char* name, const std::string& file, State missing, const std::string& advice) {
    const std::string path = folder + "/" + file;
    if (is_readable(path)) return out.push_back({name, State::Ok, path});
    const bool is_there = access(path.c_str(), F_OK) == 0;
    out.push_back({name, missing, is_there ? path + " cannot be read" : "no " + path + ": " + advice});
  };
  const std::string make = "run tools/microvm.sh " + folder;
  row("guest kernel", "vmlinuz", State::Missing, make);
  row("guest initramfs", "initramfs", State::Missing, make);
  row("guest kernel of Firecracker", "vmlinux", State::Optional, make + " with lz4 installed");
}

void check_kvm(const std::string& folder, std::vector<MicroVmCheck>& out) {
  const KvmProbe& probe = kvm_of_this_machine();
  std::string advice;
  switch (probe.state) {
    case KvmState::Works: break;
    case KvmState::Absent: advice = "; load kvm_intel or kvm_amd, or allow nested virtualisation: machines are emulated"; break;
    case KvmState::Refused: advice = "; let the node's user read and write it: machines are emulated"; break;
    case KvmState::Broken: advice = "; machines are emulated"; break;
  }
  out.push_back({"/dev/kvm", probe.works() ? State::Ok : State::Optional, probe.details + advice});
  if (!probe.works()) return;
  if (has_kvm_failed(folder)) {
    out.push_back({"boot with KVM", State::Optional,
                   "a machine did not boot with it: they are emulated; to try again remove " + accelerator_file(folder) +
                       " and restart the node"});
  } else {
    out.push_back({"boot with KVM", State::Ok, first_word(accelerator_file(folder)) == "kvm" ? "a machine has booted" : "not tried yet"});
  }
}

void check_firecracker(std::vector<MicroVmCheck>& out) {
  for (const char* name : {"firecracker", "jailer"}) {
    const std::string path = real_path(find_on_path(name));
    const std::string advice = "not on PATH: install Firecracker's release 1.8 or newer for it to run machines, with KVM and as root";
    out.push_back({name, path.empty() ? State::Optional : State::Ok, path.empty() ? advice : path});
  }
  if (geteuid() != 0) out.push_back({"root", State::Optional, "the node is not root, which Firecracker's jailer needs"});
}

}  // namespace

const char* to_string(MicroVmKind kind) {
  switch (kind) {
    case MicroVmKind::Firecracker: return "firecracker";
    case MicroVmKind::QemuKvm: return "qemu with kvm";
    case MicroVmKind::QemuEmulated: return "qemu, emulated";
    case MicroVmKind::None: break;
  }
  return "none";
}

MicroVmTools find_microvm_tools(const std::string& folder, bool may_use_kvm) {
  MicroVmTools tools;
  // Nothing is tried, KVM least of all, where nobody has prepared anything.
  const bool is_prepared = access((folder + "/initramfs").c_str(), F_OK) == 0;
  const bool has_kvm = may_use_kvm && is_prepared && !has_kvm_failed(folder) && kvm_of_this_machine().works();
  if (has_kvm && find_firecracker(folder, tools)) {
    tools.folder = folder;
    tools.kind = MicroVmKind::Firecracker;
    return tools;
  }
  tools = {};
  tools.folder = folder;
  const auto miss = [&](const std::string& what) { tools.missing += (tools.missing.empty() ? "" : ", ") + what; };
  tools.monitor = real_path(find_on_path("qemu-system-x86_64"));
  if (tools.monitor.empty()) miss("qemu-system-x86_64 (package qemu-system-x86)");
  tools.firmware = find_firmware();
  if (tools.firmware.empty() && !tools.monitor.empty()) miss("bios-microvm.bin of QEMU");
  tools.kernel = real_path(folder + "/vmlinuz");
  tools.initramfs = real_path(folder + "/initramfs");
  if (!is_readable(tools.kernel) || !is_readable(tools.initramfs)) {
    miss("kernel and initramfs in " + folder + " (tools/microvm.sh makes them)");
  }
  if (tools.missing.empty()) tools.kind = has_kvm ? MicroVmKind::QemuKvm : MicroVmKind::QemuEmulated;
  return tools;
}

std::string volume_disk_of(const std::string& folder) {
  const size_t name = folder.rfind('/') + 1;
  return folder.substr(0, name) + "." + folder.substr(name) + ".ext4";
}

void remember_kvm_failure(const std::string& folder, const std::string& why) {
  {
    const std::lock_guard lock(g_failed_mutex);
    g_failed_folders.insert(folder);
  }
  const image::OwnedFd file(open(accelerator_file(folder).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (file) (void)image::write_all(file.get(), "tcg\n" + why + "\n").operator bool();
}

const char* to_string(MicroVmCheck::State state) {
  switch (state) {
    case State::Ok: return "ok";
    case State::Missing: return "missing";
    case State::Optional: return "optional";
  }
  return "";
}

std::vector<MicroVmCheck> check_microvms(const std::vector<std::string>& folders) {
  std::string chosen = folders.empty() ? std::string() : folders.front();
  MicroVmTools tools;
  for (const std::string& folder : folders) {
    tools = find_microvm_tools(folder);
    if (tools.kind == MicroVmKind::None) continue;
    chosen = folder;
    break;
  }
  std::vector<MicroVmCheck> out;
  check_qemu(out);
  check_files(chosen, out);
  check_kvm(chosen, out);
  check_firecracker(out);
  const bool is_none = tools.kind == MicroVmKind::None;
  out.push_back({"machines are run by", is_none ? State::Missing : State::Ok, to_string(tools.kind)});
  return out;
}

}  // namespace brokkr::sandbox
