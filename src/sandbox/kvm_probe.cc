#include "sandbox/kvm_probe.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/result.h"

namespace brokkr::sandbox {
namespace {

// What the child has done when it ends.
enum Step : uint8_t { kStepNone, kStepOpened, kStepMachine, kStepProcessor, kStepRan };
constexpr const char* kStepNames[] = {"open it", "create a machine", "create a processor", "run it"};

struct Report {
  uint8_t steps = kStepNone;
  int32_t error = 0;
};

constexpr uint64_t kGuestAddress = 0x1000;
constexpr size_t kGuestBytes = 4096;
constexpr uint16_t kGuestPort = 0x3f8;
// Adds bl to al, writes the sum to port dx and halts.
constexpr uint8_t kGuestCode[] = {0x00, 0xd8, 0xee, 0xf4};
constexpr uint8_t kGuestSum = 42;
constexpr int kReapTries = 200;
constexpr int kReapPauseMs = 2;

// One processor in real mode at kGuestAddress.
int make_processor(int machine) {
  void* memory = mmap(nullptr, kGuestBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return -1;
  std::memcpy(memory, kGuestCode, sizeof kGuestCode);
  kvm_userspace_memory_region region{};
  region.guest_phys_addr = kGuestAddress;
  region.memory_size = kGuestBytes;
  region.userspace_addr = reinterpret_cast<uint64_t>(memory);
  if (ioctl(machine, KVM_SET_USER_MEMORY_REGION, &region) != 0) return -1;
  const int processor = ioctl(machine, KVM_CREATE_VCPU, 0);
  if (processor < 0) return -1;
#if defined(__x86_64__)
  kvm_sregs segments{};
  if (ioctl(processor, KVM_GET_SREGS, &segments) != 0) return -1;
  segments.cs.base = 0;
  segments.cs.selector = 0;
  kvm_regs registers{};
  registers.rip = kGuestAddress;
  registers.rax = kGuestSum - 2;
  registers.rbx = 2;
  registers.rdx = kGuestPort;
  registers.rflags = 2;
  if (ioctl(processor, KVM_SET_SREGS, &segments) != 0 || ioctl(processor, KVM_SET_REGS, &registers) != 0) return -1;
  return processor;
#else
  errno = ENOSYS;
  return -1;
#endif
}

bool runs_to_its_end(int processor, const kvm_run* state) {
  if (ioctl(processor, KVM_RUN, 0) != 0) return false;
  errno = EPROTO;
  if (state->exit_reason != KVM_EXIT_IO || state->io.port != kGuestPort) return false;
  if (reinterpret_cast<const uint8_t*>(state)[state->io.data_offset] != kGuestSum) return false;
  if (ioctl(processor, KVM_RUN, 0) != 0) return false;
  errno = EPROTO;
  return state->exit_reason == KVM_EXIT_HLT;
}

// In a child forked from a process of many threads: system calls only.
void try_kvm(const char* path, Report& report) {
  const int device = open(path, O_RDWR | O_CLOEXEC);
  if (device < 0) return;
  report.steps = kStepOpened;
  const int machine = ioctl(device, KVM_CREATE_VM, 0);
  if (machine < 0) return;
  report.steps = kStepMachine;
  const int processor = make_processor(machine);
  const int size = ioctl(device, KVM_GET_VCPU_MMAP_SIZE, 0);
  if (processor < 0 || size < static_cast<int>(sizeof(kvm_run))) return;
  void* state = mmap(nullptr, static_cast<size_t>(size), PROT_READ | PROT_WRITE, MAP_SHARED, processor, 0);
  if (state == MAP_FAILED) return;
  report.steps = kStepProcessor;
  if (runs_to_its_end(processor, static_cast<const kvm_run*>(state))) report.steps = kStepRan;
}

KvmProbe judge(const std::string& device, const Report& report) {
  if (report.steps == kStepRan) return {KvmState::Works, device + " runs a guest"};
  const std::string reason = std::strerror(report.error);
  if (report.steps == kStepNone && report.error == ENOENT) return {KvmState::Absent, "no " + device};
  const KvmState state = report.steps == kStepNone ? KvmState::Refused : KvmState::Broken;
  return {state, device + ": cannot " + kStepNames[report.steps] + ": " + reason};
}

}  // namespace

KvmProbe probe_kvm(const std::string& device, Duration timeout) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {KvmState::Broken, system_error("pipe", errno).text};
  const char* path = device.c_str();
  const pid_t child = fork();
  if (child == 0) {
    Report report;
    errno = 0;
    try_kvm(path, report);
    report.error = errno;
    _exit(write(ends[1], &report, sizeof report) == sizeof report ? 0 : 1);
  }
  const int failure = errno;
  close(ends[1]);
  Report report;
  bool is_back = false;
  if (child > 0) {
    pollfd waited{ends[0], POLLIN, 0};
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count();
    is_back = poll(&waited, 1, static_cast<int>(std::max<int64_t>(1, ms))) > 0 &&
              read(ends[0], &report, sizeof report) == sizeof report;
    kill(child, SIGKILL);
    // A guest the kernel does not let go leaves its process behind rather than us waiting.
    for (int tries = 0; tries < kReapTries && waitpid(child, nullptr, WNOHANG) == 0; ++tries) poll(nullptr, 0, kReapPauseMs);
  }
  close(ends[0]);
  if (child < 0) return {KvmState::Broken, system_error("fork", failure).text};
  if (!is_back) return {KvmState::Broken, device + ": a guest of four instructions does not come back"};
  return judge(device, report);
}

const KvmProbe& kvm_of_this_machine() {
  static const KvmProbe probe = probe_kvm("/dev/kvm");
  return probe;
}

}  // namespace brokkr::sandbox
