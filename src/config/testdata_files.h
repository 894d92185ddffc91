#pragma once

#include <dirent.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

// The corpus of whole files for the room's tests. A file NAME.conf stands beside NAME.digest when
// nats-server accepts it, or NAME.errors when it is wrong.
namespace brokkr::config::testdata {

inline const std::string& folder() {
  static const std::string path = CONFIG_TESTDATA;
  return path;
}

// The whole content; empty when there is no such file.
inline std::string read_text(const std::string& path) {
  std::string text;
  std::FILE* const file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return text;
  char chunk[4096];
  for (size_t n = 0; (n = std::fread(chunk, 1, sizeof chunk, file)) > 0;)
    text.append(chunk, n);
  std::fclose(file);
  return text;
}

// Names without extension of the files that end in `extension`, sorted.
inline std::vector<std::string> names_with(const std::string& extension) {
  std::vector<std::string> names;
  DIR* const open = opendir(folder().c_str());
  if (open == nullptr) return names;
  while (const dirent* entry = readdir(open)) {
    const std::string name = entry->d_name;
    if (name.size() > extension.size() && name.ends_with(extension)) {
      names.push_back(name.substr(0, name.size() - extension.size()));
    }
  }
  closedir(open);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace brokkr::config::testdata
