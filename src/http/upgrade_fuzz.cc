// Goal: no bytes make the reader of upgrade requests, or of their answers, read out of bounds, stand
// still, or decide differently depending on how they were cut; and nobody smuggles a line into an
// answer.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "http/websocket_upgrade.h"

namespace brokkr::http {
namespace {

std::string decide(std::string_view input, const UpgradeRules& rules, size_t cut) {
  UpgradeReader reader(rules);
  UpgradeReader::Outcome outcome = UpgradeReader::Outcome::Partial;
  for (size_t at = 0; at < input.size(); at += cut) {
    outcome = reader.next(input.substr(at, cut));
    if (outcome != UpgradeReader::Outcome::Partial) break;
  }
  if (outcome == UpgradeReader::Outcome::Accepted) {
    const UpgradeRequest& request = reader.request();
    CHECK(reader.answer().starts_with("HTTP/1.1 101 "));
    CHECK(reader.answer().find("\r\n\r\n") == reader.answer().size() - 4);
    CHECK(request.forwarded_for.find_first_not_of("0123456789abcdefABCDEF.:") == std::string::npos);
    return "accepted " + request.user_cookie + "|" + request.token_cookie;
  }
  return outcome == UpgradeReader::Outcome::Partial ? "partial" : reader.reason();
}

}  // namespace
}  // namespace brokkr::http

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace brokkr::http;
  if (size < 2) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  UpgradeRules rules;
  rules.compression = (data[0] & 1) != 0;
  rules.same_origin = (data[0] & 2) != 0;
  rules.is_tls = (data[0] & 4) != 0;
  if ((data[0] & 8) != 0) rules.allowed_origins = {{"https", "example.com", "443"}};
  rules.user_cookie = "u";
  rules.token_cookie = "t";
  rules.head_bytes_max = 1024;
  const std::string whole = decide(input, rules, input.size());
  const std::string in_cuts = decide(input, rules, 1U + data[0] / 16U);
  // What follows the request may come too late to be seen.
  const bool has_rest = whole.starts_with("client sent data");
  CHECK(whole == in_cuts || has_rest);

  HeadReader reader(1024);
  std::string_view answer = input;
  if (reader.next(answer) == HeadReader::Outcome::Complete) {
    UpgradeOffer offer;
    offer.compression = true;
    const auto agreed = check_upgrade_answer(reader.head(), offer, "dGhlIHNhbXBsZSBub25jZQ==");
    if (!agreed) CHECK(!agreed.error().text.empty());
  }
  return 0;
}
