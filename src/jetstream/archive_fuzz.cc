// Backups come from strangers: the S2 framing and both archive formats on arbitrary bytes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "jetstream/archive.h"
#include "jetstream/s2.h"

namespace {

using namespace brokkr;             // NOLINT(google-build-using-namespace)
using namespace brokkr::jetstream;  // NOLINT(google-build-using-namespace)

// Touches everything it is handed.
class Touch final : public ArchiveSink {
 public:
  Status on_state(std::string_view json) override { return use(json); }
  Status on_consumer(std::string_view name, std::string_view json, const store::ConsumerState* state) override {
    if (state != nullptr) sum_ += state->pending.size();
    (void)use(name);
    return use(json);
  }
  Status on_message(const ArchivedMessage& message) override {
    CHECK(message.seq != 0);
    (void)use(message.subject);
    (void)use(message.headers);
    return use(message.body);
  }

 private:
  Status use(std::string_view bytes) {
    for (const char c : bytes) sum_ += static_cast<unsigned char>(c);
    return {};
  }
  size_t sum_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  // The first byte: which layer the rest is for, and in what pieces it comes.
  const size_t piece = size_t{data[0] & 0x7fU} + 1;
  Touch sink;
  const auto archive = ArchiveReader::make(sink);
  S2Reader framing;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    const std::string_view part = bytes.substr(at, piece);
    const Status taken = data[0] < 0x80
                             ? archive->add(part)
                             : framing.add(part, [&](std::string_view plain) { return archive->add(plain); });
    if (!taken) return 0;
  }
  (void)framing.finish();
  (void)archive->finish();
  return 0;
}
