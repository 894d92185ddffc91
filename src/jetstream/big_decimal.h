#pragma once

#include <string>
#include <string_view>

// Whole numbers of any size as text, for counters: "-12", "0", "340282366920938463463". Pure.
namespace brokkr::jetstream {

// Reads what Go's big.Int does in base ten: an optional sign, digits. The canonical text (no '+', no
// leading zeros, no "-0"); empty when it is no number.
std::string parse_decimal(std::string_view text);
// Of two canonical texts. Digit by digit, in time linear in their length.
std::string add_decimals(std::string_view a, std::string_view b);
std::string subtract_decimals(std::string_view a, std::string_view b);

}  // namespace brokkr::jetstream
