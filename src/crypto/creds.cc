#include "crypto/creds.h"

#include <cctype>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "crypto/digest.h"
#include "crypto/jwt.h"

namespace brokkr::crypto {
namespace {

constexpr std::string_view kDashes = "---";

bool is_fence(std::string_view line) {
  return line.size() >= 2 * kDashes.size() && line.substr(0, 3) == kDashes &&
         line.substr(line.size() - 3) == kDashes;
}

bool is_content(std::string_view line) {
  if (line.empty()) return false;
  for (const char c : line) {
    const bool allowed =
        std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.' || c == '=';
    if (!allowed) return false;
  }
  return true;
}

// The lines that stand alone between two lines of dashes, in order.
std::vector<std::string_view> find_fenced(std::string_view contents) {
  std::vector<std::string_view> out;
  const auto lines = split(contents, '\n');
  for (size_t i = 0; i + 2 < lines.size(); ++i) {
    const std::string_view content = trim(lines[i + 1]);
    if (!is_fence(trim(lines[i])) || !is_content(content) || is_fence(content)) continue;
    if (!is_fence(trim(lines[i + 2]))) continue;
    out.push_back(content);
    i += 2;
  }
  return out;
}

bool looks_like_seed(std::string_view text) {
  return text.size() > 2 && text[0] == 'S' && (text[1] == 'O' || text[1] == 'A' || text[1] == 'U' || text[1] == 'N');
}

std::optional<std::string_view> find_seed(std::string_view contents) {
  for (const std::string_view content : find_fenced(contents)) {
    if (looks_like_seed(content)) return content;
  }
  for (const std::string_view line : split(contents, '\n')) {
    if (looks_like_seed(trim(line))) return trim(line);
  }
  return std::nullopt;
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

Status check_size(std::string_view contents) {
  if (contents.size() <= kCredsBytesMax) return {};
  return Error{Errc::LimitExceeded, "credentials: " + std::to_string(contents.size()) + " bytes exceed " +
                                        std::to_string(kCredsBytesMax)};
}

}  // namespace

Result<std::string> parse_jwt_file(std::string_view contents) {
  if (auto size = check_size(contents); !size) return size.error();
  const auto fenced = find_fenced(contents);
  const std::string_view token = fenced.empty() ? trim(contents) : fenced.front();
  if (!is_content(token) || looks_like_seed(token)) return Error{Errc::Syntax, "credentials: no token found"};
  return std::string(token);
}

Result<KeyPair> parse_seed_file(std::string_view contents) {
  if (auto size = check_size(contents); !size) return size.error();
  const auto seed = find_seed(contents);
  if (!seed) return Error{Errc::Syntax, "credentials: no seed found"};
  return KeyPair::from_seed(*seed);
}

Result<Creds> parse_creds(std::string_view contents) {
  auto token = parse_jwt_file(contents);
  if (!token) return token.error();
  auto key = parse_seed_file(contents);
  if (!key) return key.error();
  if (key->type() != NkeyType::User) return Error{Errc::Syntax, "credentials: the seed is not a user's"};
  return Creds{std::move(*token), std::move(*key)};
}

std::string decorate_jwt(std::string_view kind, std::string_view token) {
  const std::string name = upper(kind);
  return "-----BEGIN NATS " + name + " JWT-----\n" + std::string(token) + "\n------END NATS " + name +
         " JWT------\n\n";
}

std::string decorate_seed(const KeyPair& key) {
  const std::string name = upper(to_string(key.type()));
  std::string seed = key.seed();
  std::string out =
      "************************* IMPORTANT *************************\n"
      "NKEY Seed printed below can be used to sign and prove identity.\n"
      "NKEYs are sensitive and should be treated as secrets.\n\n"
      "-----BEGIN " + name + " NKEY SEED-----\n" + seed + "\n------END " + name +
      " NKEY SEED------\n\n*************************************************************\n";
  wipe(seed);
  return out;
}

Result<std::string> format_creds(std::string_view token, const KeyPair& user) {
  const auto claims = decode_user(token);
  if (!claims) return claims.error();
  if (claims->sub != user.public_key()) {
    return Error{Errc::InvalidArgument, "credentials: the seed is not that of " + claims->sub};
  }
  return decorate_jwt("user", token) + decorate_seed(user);
}

}  // namespace brokkr::crypto
