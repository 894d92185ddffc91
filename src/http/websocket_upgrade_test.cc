#include "http/websocket_upgrade.h"

#include <gtest/gtest.h>

namespace brokkr::http {
namespace {

using Outcome = UpgradeReader::Outcome;

constexpr std::string_view kGood =
    "GET / HTTP/1.1\r\nHost: localhost:8080\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

// The good request with `what` replaced, or with a line added in front of its end.
std::string with(std::string_view what, std::string_view instead) {
  std::string text(kGood);
  const size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return text.replace(at, what.size(), instead);
}
std::string with_line(std::string_view line) {
  std::string text(kGood);
  return text.insert(text.size() - 2, std::string(line) + "\r\n");
}

struct Answer {
  Outcome outcome;
  std::string start;  // of the answer
  std::string reason;
  UpgradeRequest request;
};
Answer ask(std::string_view text, const UpgradeRules& rules = {}) {
  UpgradeReader reader(rules);
  const Outcome outcome = reader.next(text);
  return {outcome, reader.answer().substr(0, reader.answer().find("\r\n")), reader.reason(),
          reader.request()};
}

TEST(Upgrade, AnswersWithTheKeyOfTheRfc) {
  UpgradeRules rules;
  UpgradeReader reader(rules);
  ASSERT_EQ(reader.next(kGood), Outcome::Accepted);
  EXPECT_EQ(reader.answer(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
}

TEST(Upgrade, TakesARequestInAnyPieces) {
  for (size_t cut = 1; cut < kGood.size(); ++cut) {
    const UpgradeRules rules;
    UpgradeReader reader(rules);
    ASSERT_EQ(reader.next(kGood.substr(0, cut)), Outcome::Partial) << cut;
    ASSERT_EQ(reader.next(kGood.substr(cut)), Outcome::Accepted) << cut;
  }
}

TEST(Upgrade, RefusesInNatsServersWords) {
  const struct {
    std::string request;
    std::string start;
    std::string reason;
  } cases[] = {
      {with("GET / ", "GET /mqtt "), "HTTP/1.1 404 Not Found", "mqtt websocket endpoint not enabled"},
      {with("GET", "POST"), "HTTP/1.1 405 Method Not Allowed", "request method must be GET"},
      {with("Host: localhost:8080\r\n", ""), "HTTP/1.1 400 Bad Request", "'Host' missing in request"},
      {with("Upgrade: websocket\r\n", ""), "HTTP/1.1 400 Bad Request",
       "invalid value for header 'Upgrade'"},
      {with("keep-alive, Upgrade", "close"), "HTTP/1.1 400 Bad Request",
       "invalid value for header 'Connection'"},
      {with("dGhlIHNhbXBsZSBub25jZQ==", ""), "HTTP/1.1 400 Bad Request", "key missing"},
      {with("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), "HTTP/1.1 400 Bad Request",
       "invalid websocket key"},
      {with("Version: 13", "Version: 8"), "HTTP/1.1 400 Bad Request", "invalid version"},
  };
  for (const auto& each : cases) {
    const Answer answer = ask(each.request);
    EXPECT_EQ(answer.outcome, Outcome::Refused) << each.reason;
    EXPECT_EQ(answer.start, each.start);
    EXPECT_EQ(answer.reason, each.reason);
  }
}

TEST(Upgrade, RefusesWhatIsNotStrictlyHttp) {
  const std::string requests[] = {
      with("Host: ", "Host : "),
      with("Host: localhost", "Host: local\nhost"),
      with("Host: localhost", std::string_view("Host: local\0host", 16)),
      with("Upgrade: websocket\r\n", "Upgrade:\r\n websocket\r\n"),
      with("GET / HTTP/1.1", "GET  / HTTP/1.1"),
      with("GET / HTTP/1.1", "GET /"),
      with("GET / HTTP/1.1", "GET http://x/ HTTP/1.1"),
      with("GET / HTTP/1.1", ""),
      with_line("no colon"),
      with_line(": nameless"),
      with_line("Host: again"),
      with_line("Content-Length: 5"),
      with_line("Transfer-Encoding: chunked"),
  };
  for (const std::string& request : requests) {
    const Answer answer = ask(request);
    EXPECT_EQ(answer.outcome, Outcome::Refused) << request;
    EXPECT_EQ(answer.start, "HTTP/1.1 400 Bad Request") << request;
  }
  EXPECT_EQ(ask(with("HTTP/1.1", "HTTP/1.0")).start, "HTTP/1.1 505 HTTP Version Not Supported");
}

TEST(Upgrade, BoundsTheHead) {
  UpgradeRules rules;
  rules.head_bytes_max = 1000;
  EXPECT_EQ(ask(with_line("X-Long: " + std::string(1000, 'x')), rules).start,
            "HTTP/1.1 431 Request Header Fields Too Large");
  UpgradeReader reader(rules);
  std::string drip = "GET / HTTP/1.1\r\n";
  Outcome outcome = reader.next(drip);
  for (size_t i = 0; i < 1000 && outcome == Outcome::Partial; ++i) outcome = reader.next("X: y\r\n");
  EXPECT_EQ(outcome, Outcome::Refused);
  std::string many(kGood.substr(0, kGood.size() - 2));
  for (size_t i = 0; i < HeadReader::kFieldsMax; ++i) many += "X: y\r\n";
  EXPECT_EQ(ask(many + "\r\n").reason, "too many header fields");
}

TEST(Upgrade, RefusesBytesBehindTheRequest) {
  std::string request(kGood);
  request += '\x82';
  const Answer answer = ask(request);
  EXPECT_EQ(answer.outcome, Outcome::Refused);
  EXPECT_EQ(answer.start, "");
  EXPECT_EQ(answer.reason, "client sent data before handshake is complete");
}

TEST(Upgrade, AgreesToCompressionWhenBothWantIt) {
  const std::string offer = with_line("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits");
  UpgradeRules rules;
  EXPECT_FALSE(ask(offer, rules).request.compression);
  rules.compression = true;
  EXPECT_TRUE(ask(offer, rules).request.compression);
  EXPECT_FALSE(ask(kGood, rules).request.compression);
  UpgradeReader reader(rules);
  reader.next(offer);
  EXPECT_NE(reader.answer().find("\r\nSec-WebSocket-Extensions: permessage-deflate; "
                                 "server_no_context_takeover; client_no_context_takeover\r\n"),
            std::string::npos);
}

TEST(Upgrade, AgreesToNoMasking) {
  EXPECT_TRUE(ask(with_line("Nats-No-Masking: true")).request.no_masking);
  EXPECT_FALSE(ask(with_line("Nats-No-Masking: True")).request.no_masking);
  UpgradeRules rules;
  UpgradeReader reader(rules);
  reader.next(with_line("nats-no-masking: true"));
  EXPECT_NE(reader.answer().find("\r\nNats-No-Masking: true\r\n"), std::string::npos);
}

TEST(Upgrade, KnowsLeavesAndBrowsers) {
  EXPECT_TRUE(ask(with("GET / ", "GET /leafnode ")).request.is_leaf);
  EXPECT_TRUE(ask(with("GET / ", "GET /some/path/leafnode?x=1 ")).request.is_leaf);
  EXPECT_FALSE(ask(with("GET / ", "GET /leafnode/ ")).request.is_leaf);
  EXPECT_FALSE(ask(kGood).request.is_browser);
  const Answer chrome = ask(with_line("User-Agent: Mozilla/5.0 (X11) Chrome/120 Safari/537.36"));
  EXPECT_TRUE(chrome.request.is_browser);
  EXPECT_TRUE(chrome.request.fragments_compressed);
  const Answer safari = ask(with_line("User-Agent: Mozilla/5.0 (Macintosh) Version/17.0 Safari/605.1.15"));
  EXPECT_TRUE(safari.request.is_browser);
  EXPECT_FALSE(safari.request.fragments_compressed);
}

TEST(Upgrade, TakesForwardedAddressesOnlyWhenTheyAreOne) {
  EXPECT_EQ(ask(with_line("X-Forwarded-For: 1.2.3.4")).request.forwarded_for, "1.2.3.4");
  EXPECT_EQ(ask(with_line("X-Forwarded-For: 2001:db8::1")).request.forwarded_for, "2001:db8::1");
  EXPECT_EQ(ask(with_line("X-Forwarded-For: 1.2.3.4, 5.6.7.8")).request.forwarded_for, "");
  EXPECT_EQ(ask(with_line("X-Forwarded-For: x\" onload=")).request.forwarded_for, "");
}

TEST(Upgrade, TakesCookies) {
  UpgradeRules rules;
  rules.user_cookie = "u";
  rules.password_cookie = "p";
  rules.token_cookie = "t";
  rules.jwt_cookie = "j";
  const Answer answer = ask(with_line("Cookie: u=ann; p=\"s3 cret\"; x=y; j=ey.J0=; t=bad\\one; =z"), rules);
  EXPECT_EQ(answer.request.user_cookie, "ann");
  EXPECT_EQ(answer.request.password_cookie, "s3 cret");
  EXPECT_EQ(answer.request.jwt_cookie, "ey.J0=");
  EXPECT_EQ(answer.request.token_cookie, "");
}

TEST(Upgrade, ChecksTheOrigin) {
  const auto reason = [](const UpgradeRules& rules, std::string_view origin) {
    return ask(with_line("Origin: " + std::string(origin)), rules).reason;
  };
  UpgradeRules any;
  EXPECT_EQ(reason(any, "http://evil"), "");
  UpgradeRules same;
  same.same_origin = true;
  EXPECT_EQ(ask(kGood, same).outcome, Outcome::Accepted);
  EXPECT_EQ(reason(same, "http://LOCALHOST:8080"), "");
  for (const char* origin : {"http://localhost", "https://localhost:8080", "http://other:8080",
                             "http://localhost:8080.evil", "http://evil#localhost:8080"}) {
    EXPECT_EQ(reason(same, origin), "origin not allowed: not same origin") << origin;
  }
  EXPECT_EQ(reason(same, "null"), "origin not allowed: parse \"null\": invalid URI for request");
  EXPECT_EQ(ask(with_line("Origin: http://evil"), same).start, "HTTP/1.1 403 Forbidden");
  UpgradeRules listed;
  listed.allowed_origins = {*parse_allowed_origin("https://app.example.com"),
                            *parse_allowed_origin("http://[::1]:3000")};
  EXPECT_EQ(reason(listed, "https://app.example.com"), "");
  EXPECT_EQ(reason(listed, "https://app.example.com:443"), "");
  EXPECT_EQ(reason(listed, "http://[::1]:3000"), "");
  EXPECT_EQ(reason(listed, "http://app.example.com"), "origin not allowed: not in the allowed list");
  EXPECT_FALSE(parse_allowed_origin("ftp://x"));
  EXPECT_FALSE(parse_allowed_origin("example.com"));
  EXPECT_FALSE(parse_allowed_origin("http://"));
}

TEST(Upgrade, ClientChecksTheAnswer) {
  UpgradeOffer offer;
  offer.host = "h";
  offer.compression = true;
  offer.no_masking = true;
  const std::string key = "dGhlIHNhbXBsZSBub25jZQ==";
  UpgradeRules rules;
  rules.compression = true;
  UpgradeReader server(rules);
  ASSERT_EQ(server.next(make_upgrade_request(offer, key)), Outcome::Accepted);
  const auto check = [&](std::string text, const UpgradeOffer& asked) {
    HeadReader reader(4096);
    std::string_view input = text;
    EXPECT_EQ(reader.next(input), HeadReader::Outcome::Complete);
    return check_upgrade_answer(reader.head(), asked, key);
  };
  const auto agreed = check(server.answer(), offer);
  ASSERT_TRUE(agreed);
  EXPECT_TRUE(agreed->compression);
  EXPECT_TRUE(agreed->no_masking);
  UpgradeOffer plain;
  EXPECT_FALSE(check(server.answer(), plain));
  std::string takeover = server.answer();
  takeover.replace(takeover.find("; client_no_context_takeover"), 28, "");
  EXPECT_FALSE(check(takeover, offer));
  std::string other_key = server.answer();
  other_key.replace(other_key.find("s3pP"), 4, "xxxx");
  EXPECT_FALSE(check(other_key, offer));
  EXPECT_FALSE(check("HTTP/1.1 403 Forbidden\r\n\r\n", offer));
}

}  // namespace
}  // namespace brokkr::http
