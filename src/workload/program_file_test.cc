// What can be executed here is told from what cannot, in words that help.
#include "workload/program_file.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

namespace brokkr::workload {
namespace {

class ProgramFileTest : public testing::Test {
 protected:
  void TearDown() override { unlink(path_.c_str()); }
  void put(std::string_view bytes) {
    FILE* file = fopen(path_.c_str(), "we");
    ASSERT_NE(file, nullptr);
    fwrite(bytes.data(), 1, bytes.size(), file);
    fclose(file);
  }
  std::string refusal(std::string_view bytes) {
    put(bytes);
    const auto file = inspect_program(path_);
    return file ? "accepted" : file.error().text;
  }
  static std::string elf(uint16_t machine, uint8_t elf_class = ELFCLASS64, uint16_t type = ET_EXEC) {
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = elf_class;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_machine = machine;
    header.e_type = type;
    header.e_entry = 0x400000;
    header.e_phentsize = sizeof(Elf64_Phdr);
    return {reinterpret_cast<const char*>(&header), sizeof header};
  }
  const std::string path_ = testing::TempDir() + "program_file_test." + std::to_string(getpid());
};

TEST_F(ProgramFileTest, TakesWhatThisMachineRuns) {
  const auto self = inspect_program("/proc/self/exe");
  ASSERT_TRUE(self) << self.error().text;
  EXPECT_FALSE(self->is_static);
  EXPECT_FALSE(self->interpreter.empty());
  put("#! /bin/sh -e\necho\n");
  const auto script = inspect_program(path_);
  ASSERT_TRUE(script) << script.error().text;
  EXPECT_TRUE(script->is_script);
  EXPECT_EQ(script->interpreter, "/bin/sh");
}

TEST_F(ProgramFileTest, SaysWhyNot) {
  const auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos ? testing::AssertionSuccess()
                                                : testing::AssertionFailure() << text;
  };
  EXPECT_TRUE(has(refusal(elf(EM_S390)), "s390x"));
  EXPECT_TRUE(has(refusal(elf(EM_X86_64, ELFCLASS32)), "32 bits"));
  EXPECT_TRUE(has(refusal(elf(EM_X86_64, ELFCLASS64, ET_REL)), "object file"));
  EXPECT_TRUE(has(refusal(elf(EM_X86_64).substr(0, 20)), "cut off"));
  EXPECT_TRUE(has(refusal("MZ\x90"), "Windows"));
  EXPECT_TRUE(has(refusal("\xcf\xfa\xed\xfe...."), "macOS"));
  EXPECT_TRUE(has(refusal(std::string("\0asm\1\0\0\0", 8)), "WebAssembly"));
  EXPECT_TRUE(has(refusal("hello"), "neither an ELF program nor a script"));
  EXPECT_TRUE(has(refusal(""), "neither"));
  EXPECT_TRUE(has(refusal("#!/no/such/interpreter\n"), "/no/such/interpreter"));
  EXPECT_TRUE(has(refusal("#!python3\n"), "by its path"));
}

TEST_F(ProgramFileTest, NamesAnInterpreterThatIsMissing) {
  const auto self = inspect_program("/proc/self/exe", "/no/such/root");
  ASSERT_FALSE(self);
  EXPECT_NE(self.error().text.find("link it statically"), std::string::npos) << self.error().text;
}

TEST_F(ProgramFileTest, SurvivesAnyBytes) {
  // Headers that point anywhere: nothing but a refusal or a plain answer may come of them.
  std::string bytes = elf(EM_X86_64) + std::string(200, '\xff');
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(~damaged[i]);
    put(damaged);
    (void)inspect_program(path_);
  }
}

}  // namespace
}  // namespace brokkr::workload
