#include <unistd.h>

#include <cstdlib>

#include "app/program.h"

namespace brokkr::app {

std::string default_data_dir() {
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data != '\0') {
    return std::string(data) + "/brokkr";
  }
  if (geteuid() == 0) return "/var/lib/brokkr";
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') return "/var/tmp/brokkr-" + std::to_string(geteuid());
  return std::string(home) + "/.local/share/brokkr";
}

std::string find_engine_plugin() {
  char self[4096];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self);
  if (n <= 0) return {};
  std::string folder(self, static_cast<size_t>(n));
  folder.resize(folder.rfind('/'));
  for (const char* place : {"/libbrokkr_engine_v8.so", "/../lib/brokkr/libbrokkr_engine_v8.so"}) {
    std::string path = folder + place;
    if (access(path.c_str(), R_OK) == 0) return path;
  }
  return {};
}

}  // namespace brokkr::app
