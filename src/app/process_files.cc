#include "app/process_files.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cerrno>

#include "base/json.h"

namespace brokkr::app {
namespace {

std::vector<std::string> machine_addresses() {
  std::vector<std::string> out;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return {"127.0.0.1"};
  for (const ifaddrs* item = list; item != nullptr; item = item->ifa_next) {
    if (item->ifa_addr == nullptr || item->ifa_addr->sa_family != AF_INET) continue;
    char text[INET_ADDRSTRLEN] = {};
    const auto* in = reinterpret_cast<const sockaddr_in*>(item->ifa_addr);
    if (inet_ntop(AF_INET, &in->sin_addr, text, sizeof text) != nullptr) out.emplace_back(text);
  }
  freeifaddrs(list);
  return out;
}

void write_urls(json::Writer& writer, const ListeningUrls& listening) {
  if (listening.addresses.empty()) return;
  writer.key(listening.name).begin_array();
  for (const io::Address& address : listening.addresses) {
    const bool is_wildcard =
        address.host.empty() || address.host == "0.0.0.0" || address.host == "::";
    const std::vector<std::string> hosts =
        is_wildcard ? machine_addresses() : std::vector<std::string>{address.host};
    for (const std::string& host : hosts) {
      const io::Address shown{host, address.port, {}};
      writer.string(std::string(listening.scheme) + "://" + shown.text());
    }
  }
  writer.end_array();
}

}  // namespace

Result<ProcessFile> ProcessFile::write(std::string path, const std::string& content) {
  // Written aside and renamed, so that a reader never sees half of it.
  const std::string aside = path + ".tmp";
  const int fd = open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return system_error(("write " + path).c_str(), errno);
  const ssize_t n = ::write(fd, content.data(), content.size());
  const int write_error = errno;
  close(fd);
  if (n != static_cast<ssize_t>(content.size())) {
    unlink(aside.c_str());
    return system_error(("write " + path).c_str(), n < 0 ? write_error : ENOSPC);
  }
  if (rename(aside.c_str(), path.c_str()) != 0) {
    const int error = errno;
    unlink(aside.c_str());
    return system_error(("write " + path).c_str(), error);
  }
  ProcessFile file;
  file.path_ = std::move(path);
  return file;
}

ProcessFile::~ProcessFile() {
  if (!path_.empty()) unlink(path_.c_str());
}

std::string ports_file_path(const std::string& dir, const std::string& program) {
  return dir + "/" + program + "_" + std::to_string(getpid()) + ".ports";
}

std::string ports_file_content(const std::vector<ListeningUrls>& listening) {
  json::Writer writer;
  writer.begin_object();
  for (const ListeningUrls& each : listening) write_urls(writer, each);
  writer.end_object();
  return writer.take();
}

}  // namespace brokkr::app
