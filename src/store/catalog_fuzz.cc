// Goal: no bytes make the catalog's reader read out of bounds or take memory without bound.
//
// Invariants:
//   - the entries found, whole or salvaged, are views into the bytes, ascending
//   - what parses without damage is written and parsed again to the same entries
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "store/catalog.h"
#include "store/test_files.h"

namespace brokkr::store {
namespace {

void check_entries(const std::vector<CatalogEntry>& entries, std::string_view whole) {
  for (size_t i = 0; i < entries.size(); ++i) {
    const std::string_view bytes = entries[i].bytes;
    CHECK(bytes.data() >= whole.data() &&
          bytes.data() + bytes.size() <= whole.data() + whole.size());
    if (i == 0) continue;
    const CatalogEntry& before = entries[i - 1];
    CHECK(before.stream < entries[i].stream ||
          (before.stream == entries[i].stream && before.id < entries[i].id));
  }
}

bool same_entries(const std::vector<CatalogEntry>& a, const std::vector<CatalogEntry>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const CatalogEntry& x, const CatalogEntry& y) {
                      return x.stream == y.stream && x.id == y.id && x.bytes == y.bytes;
                    });
}

}  // namespace
}  // namespace brokkr::store

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace brokkr::store;
  const auto bytes = std::make_shared<const std::string>(reinterpret_cast<const char*>(data), size);
  CatalogImage image;
  std::vector<std::string> damage;
  const brokkr::Status status = parse_catalog(bytes, 2, nullptr, image, &damage);
  check_entries(image.streams, *bytes);
  check_entries(image.consumers, *bytes);
  CHECK(status || status.error().code != brokkr::Errc::Corrupt || !damage.empty());
  if (!status) return 0;
  TestFiles files;
  CHECK(write_catalog(files, "d", 3, image, nullptr));
  CatalogImage again;
  CHECK(parse_catalog(files.files.begin()->second, 3, nullptr, again, nullptr));
  CHECK(same_entries(image.streams, again.streams) &&
        same_entries(image.consumers, again.consumers));
  return 0;
}
