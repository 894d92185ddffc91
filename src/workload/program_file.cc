#include "workload/program_file.h"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace brokkr::workload {
namespace {

constexpr size_t kInterpreterBytesMax = 4096;
constexpr size_t kProgramHeadersMax = 1024;

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64;
constexpr const char* kMachineName = "x86-64";
#elif defined(__aarch64__)
constexpr uint16_t kMachine = EM_AARCH64;
constexpr const char* kMachineName = "arm64";
#else
constexpr uint16_t kMachine = EM_NONE;
constexpr const char* kMachineName = "this processor";
#endif

class ProgramReader {
 public:
  explicit ProgramReader(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~ProgramReader() {
    if (fd_ >= 0) close(fd_);
  }
  ProgramReader(const ProgramReader&) = delete;
  ProgramReader& operator=(const ProgramReader&) = delete;
  bool is_open() const { return fd_ >= 0; }
  // As much as there is.
  size_t read_at(uint64_t offset, void* into, size_t bytes) const {
    const ssize_t n = pread(fd_, into, bytes, static_cast<off_t>(offset));
    return n > 0 ? static_cast<size_t>(n) : 0;
  }

 private:
  const int fd_;
};

std::string machine_name(uint16_t machine) {
  switch (machine) {
    case EM_386: return "x86 (32 bits)";
    case EM_X86_64: return "x86-64";
    case EM_AARCH64: return "arm64";
    case EM_ARM: return "arm (32 bits)";
    case EM_RISCV: return "riscv";
    case EM_PPC64: return "ppc64";
    case EM_S390: return "s390x";
    default: return "machine " + std::to_string(machine);
  }
}

Error not_a_program(std::string why) { return {Errc::Unsupported, std::move(why)}; }

Status check_interpreter(const std::string& interpreter, const std::string& root) {
  if (access((root + interpreter).c_str(), X_OK) == 0) return {};
  return not_a_program("the program needs " + interpreter +
                       ", which is not here: link it statically or use an image");
}

Result<ProgramFile> inspect_script(std::string_view head, const std::string& root) {
  ProgramFile file;
  file.is_script = true;
  std::string_view line = head.substr(2, head.find('\n') - 2);
  while (line.starts_with(' ')) line.remove_prefix(1);
  file.interpreter = line.substr(0, line.find_first_of(" \t\r"));
  if (!file.interpreter.starts_with('/')) {
    return not_a_program("the script's first line names no interpreter by its path");
  }
  if (Status s = check_interpreter(file.interpreter, root); !s) return s.error();
  return file;
}

Status check_elf_header(const Elf64_Ehdr& header) {
  if (header.e_ident[EI_CLASS] != ELFCLASS64) {
    return not_a_program("the program is for 32 bits, this machine runs 64");
  }
  if (header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != kMachine) {
    return not_a_program("the program is for " + machine_name(header.e_machine) +
                         ", this machine is " + kMachineName);
  }
  const uint8_t system = header.e_ident[EI_OSABI];
  if (system != ELFOSABI_SYSV && system != ELFOSABI_LINUX) {
    return not_a_program("the program is for another system than Linux");
  }
  if (header.e_type == ET_REL) return not_a_program("an object file is no program: link it");
  if (header.e_type == ET_CORE) return not_a_program("a core dump is no program");
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum > kProgramHeadersMax) {
    return Error{Errc::Corrupt, "the program's headers are damaged"};
  }
  return {};
}

Result<ProgramFile> inspect_elf(const ProgramReader& reader, const std::string& root) {
  Elf64_Ehdr header{};
  if (reader.read_at(0, &header, sizeof header) != sizeof header) {
    return Error{Errc::Corrupt, "the program is cut off"};
  }
  if (Status s = check_elf_header(header); !s) return s.error();
  ProgramFile file;
  file.is_static = true;
  for (size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr entry{};
    if (reader.read_at(header.e_phoff + i * sizeof entry, &entry, sizeof entry) != sizeof entry) {
      return Error{Errc::Corrupt, "the program is cut off"};
    }
    if (entry.p_type != PT_INTERP) continue;
    std::array<char, kInterpreterBytesMax> text{};
    const size_t n = reader.read_at(entry.p_offset, text.data(),
                                    std::min<size_t>(entry.p_filesz, text.size() - 1));
    file.interpreter.assign(text.data(), strnlen(text.data(), n));
    file.is_static = false;
    if (Status s = check_interpreter(file.interpreter, root); !s) return s.error();
  }
  // A shared library has neither an interpreter nor a place to begin.
  if (file.is_static && header.e_entry == 0) return not_a_program("a shared library is no program");
  return file;
}

}  // namespace

Result<ProgramFile> inspect_program(const std::string& path, const std::string& root) {
  const ProgramReader reader(path);
  if (!reader.is_open()) return system_error(("open " + path).c_str(), errno);
  std::array<char, 256> buffer{};
  const std::string_view head(buffer.data(), reader.read_at(0, buffer.data(), buffer.size()));
  if (head.starts_with("#!")) return inspect_script(head, root);
  if (head.starts_with(std::string_view(ELFMAG, SELFMAG))) return inspect_elf(reader, root);
  if (head.starts_with("MZ")) return not_a_program("the program is for Windows, not for Linux");
  if (head.starts_with("\xcf\xfa\xed\xfe") || head.starts_with("\xca\xfe\xba\xbe")) {
    return not_a_program("the program is for macOS, not for Linux");
  }
  if (head.starts_with(std::string_view("\0asm", 4))) {
    return not_a_program("the artifact is a WebAssembly module: use type wasm");
  }
  return not_a_program("the artifact is neither an ELF program nor a script beginning with #!");
}

}  // namespace brokkr::workload
