# One interface target carries the warning set; every room links it PRIVATE, so
# warnings never leak into third-party headers (those come in as SYSTEM).
add_library(warnings INTERFACE)
target_compile_options(warnings INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wnon-virtual-dtor -Woverloaded-virtual
  -Wimplicit-fallthrough -Wcast-align -Wformat=2
  -Wno-missing-field-initializers)
# Not -Wnull-dereference: gcc 12 at -O2 reports it inside <streambuf> and in loops over maps.
option(BROKKR_WERROR "Treat warnings as errors" OFF)
if(BROKKR_WERROR)
  target_compile_options(warnings INTERFACE -Werror)
endif()
