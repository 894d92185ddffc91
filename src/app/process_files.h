#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/socket.h"

namespace brokkr::app {

// A file that exists while the process runs: the pid file, the ports file. Removed by the destructor.
class ProcessFile {
 public:
  // Writes the whole file or fails with System, naming it.
  static Result<ProcessFile> write(std::string path, const std::string& content);
  ProcessFile() = default;
  ProcessFile(ProcessFile&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  ProcessFile& operator=(ProcessFile&& other) noexcept {
    path_.swap(other.path_);
    return *this;
  }
  ~ProcessFile();

 private:
  std::string path_;
};

// `<dir>/<program>_<pid>.ports`, the name nats-server gives it.
std::string ports_file_path(const std::string& dir, const std::string& program);
// What listens, by the ports file's name for it.
struct ListeningUrls {
  std::string_view name;    // "nats", "monitoring", "websocket"
  std::string_view scheme;  // "nats", "http", "ws"
  std::vector<io::Address> addresses;
};
// {"nats":["nats://127.0.0.1:4222"],"monitoring":["http://…"]}; a wildcard address is given as every
// address of the machine, and what has none is left out.
std::string ports_file_content(const std::vector<ListeningUrls>& listening);

}  // namespace brokkr::app
