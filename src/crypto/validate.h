#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/claims.h"

namespace brokkr::crypto {

// One thing that is wrong with claims that are well formed and signed.
struct Issue {
  enum class Kind : uint8_t { Error, Time, Warning };
  Kind kind = Kind::Error;
  std::string text;
};

// Everything found, in the order of the claims. Value.
class Issues {
 public:
  void add_error(std::string text) { list_.push_back({Issue::Kind::Error, std::move(text)}); }
  void add_time(std::string text) { list_.push_back({Issue::Kind::Time, std::move(text)}); }
  void add_warning(std::string text) { list_.push_back({Issue::Kind::Warning, std::move(text)}); }

  // Whether the claims are to be refused, for what they say or (if asked) for their time.
  bool is_blocking(bool include_time = true) const;
  // The texts of what blocks, joined by "; ".
  std::string text() const;
  const std::vector<Issue>& list() const { return list_; }

 private:
  std::vector<Issue> list_;
};

// The rules of each kind; `now` in seconds. Pure.
Issues validate(const OperatorClaims&, int64_t now);
Issues validate(const AccountClaims&, int64_t now);
Issues validate(const UserClaims&, int64_t now);
Issues validate(const ActivationClaims&, int64_t now);
Issues validate(const AuthorizationRequestClaims&, int64_t now);
Issues validate(const AuthorizationResponseClaims&, int64_t now);

// "10.0.0.0/8", "fe80::/10": an address, a slash and a length that fits it.
bool is_network(std::string_view text);
// "15:04:05".
bool is_time_of_day(std::string_view text);

// Whether everything `subject` matches is matched by `other`; both may have wildcards.
bool is_contained_in(std::string_view subject, std::string_view other);
bool has_wildcards(std::string_view subject);

// Shared by the kinds; validate.cc.
void check_times(const ClaimsData&, int64_t now, Issues&);
void check_subject(std::string_view subject, Issues&);
void check_permissions(const Permissions&, Issues&);
void check_user_limits(const UserPermissionLimits&, Issues&);

}  // namespace brokkr::crypto
