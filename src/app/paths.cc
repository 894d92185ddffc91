#include <unistd.h>

#include <cstdlib>

#include "app/program.h"

namespace brokkr::app {

std::string default_data_dir() {
  // A service of systemd has one folder, or several with colons between.
  if (const char* state = std::getenv("STATE_DIRECTORY"); state != nullptr && *state != '\0') {
    const std::string folders(state);
    return folders.substr(0, folders.find(':'));
  }
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data != '\0') {
    return std::string(data) + "/brokkr";
  }
  if (geteuid() == 0) return "/var/lib/brokkr";
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') return "/var/tmp/brokkr-" + std::to_string(geteuid());
  return std::string(home) + "/.local/share/brokkr";
}

}  // namespace brokkr::app
