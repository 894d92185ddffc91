#include "broker/system/encoding.h"

#include <zlib.h>

#include "base/bytes.h"

namespace brokkr::broker {
namespace {

constexpr int kGzipWindow = 15 + 16;  // zlib's way to ask for gzip
constexpr int kMemoryLevel = 8;

std::string gzip(std::string_view plain) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzipWindow, kMemoryLevel,
                   Z_DEFAULT_STRATEGY) != Z_OK) {
    return {};
  }
  std::string out(deflateBound(&stream, plain.size()), '\0');
  std::string input(plain);
  stream.next_in = reinterpret_cast<Bytef*>(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int status = deflate(&stream, Z_FINISH);
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  return status == Z_STREAM_END ? out : std::string();
}

}  // namespace

std::string_view find_message_header(std::string_view block, std::string_view name) {
  size_t at = block.find("\r\n");
  while (at != std::string_view::npos) {
    const size_t begin = at + 2;
    at = block.find("\r\n", begin);
    const std::string_view line = block.substr(begin, at == std::string_view::npos ? at : at - begin);
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos || !equals_ignore_case(line.substr(0, colon), name)) continue;
    return trim(line.substr(colon + 1));
  }
  return {};
}

void encode_as_accepted(std::string_view request_headers,
                        const Callback<std::string(std::string_view)>& snappy, std::string& headers,
                        std::string& body) {
  const std::string accepted = to_lower(find_message_header(request_headers, "Accept-Encoding"));
  const bool takes_snappy = accepted.find("snappy") != std::string::npos ||
                            accepted.find("s2") != std::string::npos;
  if (takes_snappy && snappy) {
    body = snappy(body);
    headers = "NATS/1.0\r\nContent-Encoding: snappy\r\n\r\n";
  } else if (accepted.find("gzip") != std::string::npos) {
    std::string packed = gzip(body);
    if (packed.empty()) return;
    body = std::move(packed);
    headers = "NATS/1.0\r\nContent-Encoding: gzip\r\n\r\n";
  }
}

}  // namespace brokkr::broker
