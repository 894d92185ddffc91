#pragma once

#include <string>

// What the parts of ImageStore share.
namespace brokkr::sandbox::image {

// A name nobody else uses below a store's tmp/.
std::string temporary_name();

}  // namespace brokkr::sandbox::image
