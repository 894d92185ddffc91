#pragma once

#include <string_view>

namespace brokkr::runtime {

// The bundled prelude (prelude_bundle.js), ASCII, embedded in the plugin.
std::string_view prelude_source();

}  // namespace brokkr::runtime
