#include "jetstream/big_decimal.h"

#include <algorithm>

namespace brokkr::jetstream {
namespace {

// Numbers without sign, no leading zeros.
bool is_less(std::string_view a, std::string_view b) {
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

std::string add_digits(std::string_view a, std::string_view b) {
  if (a.size() < b.size()) std::swap(a, b);
  std::string sum(a.size() + 1, '0');
  int carry = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    int digit = a[a.size() - 1 - i] - '0' + carry;
    if (i < b.size()) digit += b[b.size() - 1 - i] - '0';
    sum[sum.size() - 1 - i] = static_cast<char>('0' + digit % 10);
    carry = digit / 10;
  }
  sum[0] = static_cast<char>('0' + carry);
  return carry == 0 ? sum.substr(1) : sum;
}

// `a` is not less than `b`.
std::string subtract_digits(std::string_view a, std::string_view b) {
  std::string difference(a);
  int borrow = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    int digit = a[a.size() - 1 - i] - '0' - borrow;
    if (i < b.size()) digit -= b[b.size() - 1 - i] - '0';
    borrow = digit < 0 ? 1 : 0;
    difference[a.size() - 1 - i] = static_cast<char>('0' + digit + 10 * borrow);
  }
  const size_t first = difference.find_first_not_of('0');
  return first == std::string::npos ? "0" : difference.substr(first);
}

std::string negate(std::string_view a) {
  if (a == "0") return "0";
  return a.starts_with('-') ? std::string(a.substr(1)) : "-" + std::string(a);
}

}  // namespace

std::string parse_decimal(std::string_view text) {
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos) return {};
  const size_t first = text.find_first_not_of('0');
  if (first == std::string_view::npos) return "0";
  return (is_negative ? "-" : "") + std::string(text.substr(first));
}

std::string add_decimals(std::string_view a, std::string_view b) {
  const bool a_negative = a.starts_with('-');
  const bool b_negative = b.starts_with('-');
  const std::string_view a_digits = a_negative ? a.substr(1) : a;
  const std::string_view b_digits = b_negative ? b.substr(1) : b;
  if (a_negative == b_negative) {
    const std::string sum = add_digits(a_digits, b_digits);
    return a_negative ? negate(sum) : sum;
  }
  const bool a_is_smaller = is_less(a_digits, b_digits);
  const std::string difference = a_is_smaller ? subtract_digits(b_digits, a_digits)
                                              : subtract_digits(a_digits, b_digits);
  return (a_is_smaller ? b_negative : a_negative) ? negate(difference) : difference;
}

std::string subtract_decimals(std::string_view a, std::string_view b) {
  return add_decimals(a, negate(b));
}

}  // namespace brokkr::jetstream
