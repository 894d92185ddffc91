#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "sandbox/kvm_probe.h"
#include "sandbox/microvm.h"

namespace brokkr::sandbox {
namespace {

namespace fs = std::filesystem;
using State = MicroVmCheck::State;

// A folder of machines and a PATH of our own.
class MicroVmToolsTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/brokkr-tools-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
    fs::create_directory(folder_ + "/bin");
    old_path_ = std::getenv("PATH");
    setenv("PATH", (folder_ + "/bin").c_str(), 1);
  }
  void TearDown() override {
    setenv("PATH", old_path_.c_str(), 1);
    fs::remove_all(folder_);
  }
  void put(const std::string& name, const std::string& text, bool is_program = false) {
    std::ofstream(folder_ + "/" + name) << text;
    if (is_program) fs::permissions(folder_ + "/" + name, fs::perms::owner_all);
  }
  MicroVmCheck row(const std::string& name) {
    for (const MicroVmCheck& check : check_microvms({folder_})) {
      if (check.name == name) return check;
    }
    return {"", State::Missing, "no row " + name};
  }
  std::string folder_;
  std::string old_path_;
};

TEST(KvmProbe, SaysWhyADeviceIsNone) {
  EXPECT_EQ(probe_kvm("/nowhere/kvm").state, KvmState::Absent);
  const KvmProbe null = probe_kvm("/dev/null");
  EXPECT_EQ(null.state, KvmState::Broken);
  EXPECT_NE(null.details.find("cannot create a machine"), std::string::npos) << null.details;
  if (geteuid() != 0) {
    EXPECT_EQ(probe_kvm("/etc/shadow").state, KvmState::Refused);
  }
}

TEST(KvmProbe, AgreesWithItself) {
  const KvmProbe& probe = kvm_of_this_machine();
  EXPECT_FALSE(probe.details.empty());
  if (access("/dev/kvm", F_OK) != 0) {
    EXPECT_EQ(probe.state, KvmState::Absent);
  }
}

TEST_F(MicroVmToolsTest, EverythingMissingIsSaidWithWhatToDo) {
  EXPECT_EQ(row("qemu-system-x86_64").state, State::Missing);
  EXPECT_NE(row("qemu-system-x86_64").details.find("apt-get install"), std::string::npos);
  EXPECT_EQ(row("guest kernel").state, State::Missing);
  EXPECT_NE(row("guest initramfs").details.find("tools/microvm.sh " + folder_), std::string::npos);
  EXPECT_EQ(row("firecracker").state, State::Optional);
  EXPECT_EQ(row("jailer").state, State::Optional);
  EXPECT_FALSE(row("/dev/kvm").details.empty());
  EXPECT_EQ(row("machines are run by").state, State::Missing);
  EXPECT_EQ(find_microvm_tools(folder_).kind, MicroVmKind::None);
}

TEST_F(MicroVmToolsTest, WhatIsThereIsSaid) {
  for (const char* file : {"vmlinuz", "vmlinux", "initramfs"}) put(file, "x");
  put("accelerator", "tcg\n");
  put("bin/qemu-system-x86_64", "an old one", true);
  put("bin/jailer", "", true);
  EXPECT_EQ(row("guest kernel").state, State::Ok);
  EXPECT_EQ(row("guest kernel of Firecracker").details, folder_ + "/vmlinux");
  EXPECT_EQ(row("qemu-system-x86_64").state, State::Ok);
  EXPECT_EQ(row("qemu microvm machine").state, State::Missing);
  EXPECT_EQ(row("jailer").state, State::Ok);
  put("bin/other", "with a microvm-machine in it", true);
  fs::rename(folder_ + "/bin/other", folder_ + "/bin/qemu");
  fs::remove(folder_ + "/bin/qemu-system-x86_64");
  fs::create_symlink(folder_ + "/bin/qemu", folder_ + "/bin/qemu-system-x86_64");
  if (!fs::exists("/usr/share/qemu/bios-microvm.bin")) GTEST_SKIP() << "no firmware of QEMU here";
  EXPECT_EQ(row("qemu microvm machine").state, State::Ok);
  EXPECT_EQ(row("machines are run by").details, "qemu, emulated");
}

TEST_F(MicroVmToolsTest, KvmIsUsedWhereItWorksUntilItDoesNot) {
  if (!fs::exists("/usr/share/qemu/bios-microvm.bin")) GTEST_SKIP() << "no firmware of QEMU here";
  for (const char* file : {"vmlinuz", "initramfs"}) put(file, "x");
  put("bin/qemu-system-x86_64", "microvm-machine", true);
  const bool works = kvm_of_this_machine().works();
  EXPECT_EQ(find_microvm_tools(folder_).kind, works ? MicroVmKind::QemuKvm : MicroVmKind::QemuEmulated);
  for (const char* file : {"bin/firecracker", "bin/jailer", "vmlinux"}) put(file, "x", true);
  if (works && geteuid() == 0) {
    EXPECT_EQ(find_microvm_tools(folder_).kind, MicroVmKind::Firecracker);
  }
  put("accelerator", "tcg");
  EXPECT_EQ(find_microvm_tools(folder_).kind, MicroVmKind::QemuEmulated);
  put("accelerator", "kvm");
  remember_kvm_failure(folder_, "a test says so");
  EXPECT_EQ(find_microvm_tools(folder_).kind, MicroVmKind::QemuEmulated);
  std::string word;
  std::ifstream(folder_ + "/accelerator") >> word;
  EXPECT_EQ(word, "tcg");
  if (works) {
    EXPECT_EQ(row("boot with KVM").state, State::Optional);
  }
}

}  // namespace
}  // namespace brokkr::sandbox
