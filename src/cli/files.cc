#include "cli/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/bytes.h"

namespace brokkr::cli {
namespace {

constexpr size_t kProgramOutputMax = 64 << 20;

Result<std::string> read_all(int fd, const char* name, size_t bytes_max) {
  std::string out;
  char buffer[65536];
  while (true) {
    const ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error(name, errno);
    if (n == 0) return out;
    out.append(buffer, static_cast<size_t>(n));
    if (out.size() > bytes_max) {
      return Error{Errc::LimitExceeded,
                   std::string(name) + ": more than " + format_bytes(bytes_max)};
    }
  }
}

// Writes and reads in turns, so that neither side waits for the other for ever.
std::string exchange(int to_child, int from_child, std::string_view input) {
  std::string output;
  char buffer[65536];
  fcntl(to_child, F_SETFL, O_NONBLOCK);
  while (true) {
    pollfd fds[2] = {{from_child, POLLIN, 0}, {input.empty() ? -1 : to_child, POLLOUT, 0}};
    if (input.empty() && to_child >= 0) {
      close(to_child);
      to_child = -1;
    }
    if (poll(fds, 2, -1) < 0 && errno != EINTR) break;
    if ((fds[1].revents & (POLLOUT | POLLERR)) != 0) {
      const ssize_t n = write(to_child, input.data(), input.size());
      if (n > 0) input.remove_prefix(static_cast<size_t>(n));
      if (n < 0 && errno != EAGAIN) input = {};  // it does not want the rest
    }
    if ((fds[0].revents & (POLLIN | POLLHUP)) != 0) {
      const ssize_t n = read(from_child, buffer, sizeof buffer);
      if (n <= 0) break;
      output.append(buffer, static_cast<size_t>(n));
      if (output.size() > kProgramOutputMax) break;
    }
  }
  if (to_child >= 0) close(to_child);
  return output;
}

}  // namespace

Result<std::string> read_file(const std::string& path, size_t bytes_max) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return system_error(path.c_str(), errno);
  auto text = read_all(fd, path.c_str(), bytes_max);
  close(fd);
  return text;
}

Status write_file(const std::string& path, std::string_view text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return system_error(path.c_str(), errno);
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      close(fd);
      return system_error(path.c_str(), error);
    }
    text.remove_prefix(static_cast<size_t>(n));
  }
  if (close(fd) != 0) return system_error(path.c_str(), errno);
  return {};
}

Status make_folders(const std::string& path) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (mkdir(part.c_str(), 0700) != 0 && errno != EEXIST && !is_folder(part)) {
      return system_error(("mkdir " + part).c_str(), errno);
    }
    if (slash == std::string::npos) return {};
  }
}

Status replace_file(const std::string& path, std::string_view text, unsigned mode) {
  const size_t slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0) {
    if (Status made = make_folders(path.substr(0, slash)); !made) return made;
  }
  std::string next = path + ".tmp-XXXXXX";
  const int fd = mkstemp(next.data());
  if (fd < 0) return system_error(next.c_str(), errno);
  const bool is_restricted = fchmod(fd, mode) == 0;
  close(fd);
  Status written = write_file(next, text);
  if (written && (!is_restricted || rename(next.c_str(), path.c_str()) != 0)) {
    written = system_error(path.c_str(), errno);
  }
  if (!written) unlink(next.c_str());
  return written;
}

bool is_file(const std::string& path) {
  struct stat facts {};
  return stat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode);
}

bool is_folder(const std::string& path) {
  struct stat facts {};
  return stat(path.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode);
}

std::string home_folder() {
  const char* const home = std::getenv("HOME");
  if (home != nullptr && *home != '\0') return home;
  const passwd* const user = getpwuid(getuid());
  return user == nullptr ? std::string() : user->pw_dir;
}

std::string config_home() {
  const char* const xdg = std::getenv("XDG_CONFIG_HOME");
  return xdg != nullptr && *xdg != '\0' ? xdg : home_folder() + "/.config";
}

std::string data_home() {
  const char* const xdg = std::getenv("XDG_DATA_HOME");
  return xdg != nullptr && *xdg != '\0' ? xdg : home_folder() + "/.local/share";
}

Result<std::vector<std::string>> list_folder(const std::string& path) {
  DIR* folder = opendir(path.c_str());
  if (folder == nullptr) return system_error(path.c_str(), errno);
  std::vector<std::string> names;
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  closedir(folder);
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::string> edit_text(std::string_view text, const std::string& suffix) {
  const char* editor = std::getenv("EDITOR");
  if (editor == nullptr || *editor == '\0') {
    return Error{Errc::NotFound, "set EDITOR environment variable to your chosen editor"};
  }
  auto words = split_words(editor);
  if (!words) return Error{Errc::Syntax, "could not parse EDITOR: " + std::string(editor)};
  const char* folder = std::getenv("TMPDIR");
  std::string path = std::string(folder == nullptr ? "/tmp" : folder) + "/brokkr-XXXXXX" + suffix;
  const int fd = mkstemps(path.data(), static_cast<int>(suffix.size()));
  if (fd < 0) return Error{Errc::System, "could not create temporary file: " + path};
  close(fd);
  if (Status written = write_file(path, text); !written) return written.error();
  words->push_back(path);
  const pid_t child = fork();
  if (child == 0) {
    std::vector<char*> argv;
    for (std::string& word : *words) argv.push_back(word.data());
    argv.push_back(nullptr);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  int status = -1;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  auto edited = read_file(path, kProgramOutputMax);
  unlink(path.c_str());
  if (child < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return Error{Errc::System, "could not edit file " + path + ": " + editor + " failed"};
  }
  return edited;
}

Result<std::string> read_stdin(size_t bytes_max) {
  return read_all(STDIN_FILENO, "stdin", bytes_max);
}

std::optional<std::string> read_stdin_line() {
  char* line = nullptr;
  size_t capacity = 0;
  const ssize_t size = getline(&line, &capacity, stdin);
  std::optional<std::string> out;
  if (size >= 0) out.emplace(line, static_cast<size_t>(size));
  std::free(line);
  if (out && !out->empty() && out->back() == '\n') out->pop_back();
  return out;
}

Result<std::vector<std::string>> split_words(std::string_view text) {
  std::vector<std::string> words;
  bool is_open = false;  // a word has begun
  char quote = '\0';
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote == '\0' && (c == ' ' || c == '\t' || c == '\n')) {
      is_open = false;
      continue;
    }
    if (!is_open) words.emplace_back();
    is_open = true;
    if (c == quote) {
      quote = '\0';
    } else if (quote == '\0' && (c == '\'' || c == '"')) {
      quote = c;
    } else if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      words.back() += text[++i];
    } else {
      words.back() += c;
    }
  }
  if (quote != '\0') return Error{Errc::Syntax, "unclosed quote in \"" + std::string(text) + "\""};
  if (words.empty()) return Error{Errc::InvalidArgument, "empty command"};
  return words;
}

Result<ProgramResult> run_program(
    const std::vector<std::string>& words, std::string_view input,
    std::initializer_list<std::pair<const char*, std::string>> environment) {
  std::signal(SIGPIPE, SIG_IGN);  // a program that does not read its input is no reason to die
  int in[2];
  int out[2];
  if (pipe2(in, O_CLOEXEC) != 0) return system_error("pipe", errno);
  if (pipe2(out, O_CLOEXEC) != 0) {
    const int error = errno;
    close(in[0]);
    close(in[1]);
    return system_error("pipe", error);
  }
  const pid_t child = fork();
  if (child < 0) return system_error("fork", errno);
  if (child == 0) {
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    for (const auto& [name, value] : environment) setenv(name, value.c_str(), 1);
    std::vector<char*> argv;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    execvp(argv[0], argv.data());
    std::perror(argv[0]);
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  ProgramResult result;
  result.output = exchange(in[1], out[0], input);
  close(out[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.is_success = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return result;
}

}  // namespace brokkr::cli
