#pragma once

#include <cstdint>
#include <string>
#include <string_view>

// File names that are a number: sixteen hexadecimal digits and a suffix. Pure.
namespace brokkr::store {

std::string numbered_name(uint64_t number, std::string_view suffix);
// 0 for any other name.
uint64_t parse_numbered_name(std::string_view name, std::string_view suffix);

}  // namespace brokkr::store
