// Runs a fuzz target over every file of the folders given, so that each corpus is a unit test
// with any compiler. Exits non-zero when a folder is missing or holds no file.
#include <dirent.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

bool replay_file(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return false;
  std::vector<uint8_t> bytes;
  uint8_t chunk[65536];
  for (size_t n = 0; (n = std::fread(chunk, 1, sizeof chunk, file)) > 0;) {
    bytes.insert(bytes.end(), chunk, chunk + n);
  }
  std::fclose(file);
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  int replayed = 0;
  for (int i = 1; i < argc; ++i) {
    DIR* folder = opendir(argv[i]);
    if (folder == nullptr) {
      std::fprintf(stderr, "fuzz_replay: cannot open %s\n", argv[i]);
      return 1;
    }
    while (const dirent* entry = readdir(folder)) {
      if (entry->d_name[0] == '.') continue;
      if (replay_file(std::string(argv[i]) + "/" + entry->d_name)) ++replayed;
    }
    closedir(folder);
  }
  std::printf("replayed %d inputs\n", replayed);
  return replayed > 0 ? 0 : 1;
}
