#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "http/head.h"

namespace brokkr::http {

// A page's origin: "https://example.com" has the port 443.
struct Origin {
  std::string scheme;
  std::string host;  // lower case
  std::string port;
};
// An entry of `allowed_origins`; fails with InvalidArgument in nats-server's words.
Result<Origin> parse_allowed_origin(std::string_view text);

// How a server answers requests to become a WebSocket. Immutable.
struct UpgradeRules {
  bool compression = false;
  bool is_tls = false;
  bool same_origin = false;
  std::vector<Origin> allowed_origins;  // empty: any
  // Names of the cookies that carry credentials; empty: none does.
  std::string jwt_cookie;
  std::string user_cookie;
  std::string password_cookie;
  std::string token_cookie;
  std::string extra_headers;  // lines with CRLF, for the answer
  size_t head_bytes_max = 32 << 10;
};

// A request that was accepted.
struct UpgradeRequest {
  bool is_leaf = false;  // its path ends in /leafnode
  bool compression = false;
  bool no_masking = false;
  bool is_browser = false;
  bool fragments_compressed = true;  // false for Safari, which cannot put them together
  std::string forwarded_for;         // an address, when a proxy told one
  std::string jwt_cookie;
  std::string user_cookie;
  std::string password_cookie;
  std::string token_cookie;
};

// Reads one request and decides on it, with nats-server's answers and words. `rules` outlives it.
// Loop-confined.
class UpgradeReader {
 public:
  enum class Outcome : uint8_t { Partial, Accepted, Refused };

  explicit UpgradeReader(const UpgradeRules& rules) : rules_(rules), reader_(rules.head_bytes_max) {}
  Outcome next(std::string_view input);
  const UpgradeRequest& request() const { return request_; }
  // What to send in either case; empty when there is nothing to be said.
  const std::string& answer() const { return answer_; }
  // Why it was refused, for the log.
  const std::string& reason() const { return reason_; }

 private:
  Outcome decide();
  Outcome refuse(int status, std::string reason);
  std::string check_origin() const;
  bool offers_compression() const;
  void note_client();
  void take_cookies(std::string_view field);

  const UpgradeRules& rules_;
  HeadReader reader_;
  UpgradeRequest request_;
  std::string answer_;
  std::string reason_;
};

// What a server answers to the key of a request (RFC 6455 section 1.3).
std::string make_accept_key(std::string_view key);

// The client's side: the request, and what the answer must be.
struct UpgradeOffer {
  std::string host;  // with the port
  std::string path = "/";
  bool compression = false;
  bool no_masking = false;
  std::vector<Head::Field> headers;  // added to the request
};
// `key` is 16 random bytes in base64.
std::string make_upgrade_request(const UpgradeOffer& offer, std::string_view key);

// What the server agreed to.
struct UpgradeAgreement {
  bool compression = false;
  bool no_masking = false;
};
Result<UpgradeAgreement> check_upgrade_answer(const Head& answer, const UpgradeOffer& offer,
                                              std::string_view key);

}  // namespace brokkr::http
