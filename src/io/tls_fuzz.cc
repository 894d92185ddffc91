// What a server makes of the first bytes of a stream: whatever comes, in whatever pieces, the
// handshake ends or waits for more, plain text is told apart from its first byte on, and little is
// held. The input's first byte says how large the pieces are and how many bytes were read beforehand.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "io/testing/certificates.h"
#include "io/tls.h"

namespace {

using namespace brokkr;      // NOLINT(google-build-using-namespace)
using namespace brokkr::io;  // NOLINT(google-build-using-namespace)

struct Server {
  Server() {
    const TestAuthority authority;
    TlsSettings settings;
    settings.certificates = {authority.issue_server()};
    settings.verify_client = true;
    settings.ca = authority.certificate();
    settings.ca_is_text = true;
    context = *TlsContext::server(settings);
    loop = std::move(*Loop::open({}, clock));
  }
  SystemClock clock;
  std::unique_ptr<Loop> loop;
  std::shared_ptr<const TlsContext> context;
};

struct Sink final : TransportHandler {
  void on_readable() override {
    char bytes[4096];
    if (stream->read(bytes, sizeof bytes).kind != IoResult::Kind::WouldBlock) {
      stream->listen(nullptr, false, false);
    }
  }
  void on_writable() override {}
  std::unique_ptr<TlsTransport> stream;
};

void require(bool claim) {
  if (!claim) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Server server;
  if (size < 2) return 0;
  const size_t piece = (data[0] & 15U) == 0 ? size : (data[0] & 15U) * 7U;
  std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string_view early = input.substr(0, data[0] >> 4U);
  const bool is_plain = input[0] != 0x16;
  input.remove_prefix(early.size());

  auto [left, right] = make_pipe(*server.loop, 1 << 20);
  Sink sink;
  sink.stream = wrap_tls_server(*server.loop, std::move(left), server.context, early);
  bool is_done = false;
  bool is_accepted = false;
  sink.stream->start_handshake([&](const Status& status) {
    is_done = true;
    is_accepted = static_cast<bool>(status);
  });
  sink.stream->listen(&sink, true, false);
  server.loop->run_once(Duration(0));
  while (!input.empty()) {
    const size_t n = std::min(piece, input.size());
    right->write(input.data(), n);
    input.remove_prefix(n);
    server.loop->run_once(Duration(0));
    server.loop->run_once(Duration(0));
  }
  require(!is_accepted);  // nobody guesses a Finished
  require(!is_plain || (is_done && sink.stream->is_plain_text()));
  right.reset();
  for (int i = 0; i < 3; ++i) server.loop->run_once(Duration(0));
  require(is_done);  // the stream's end ends it at the latest
  return 0;
}
