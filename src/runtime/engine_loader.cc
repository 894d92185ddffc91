#include <dlfcn.h>

#include "runtime/engine.h"

namespace brokkr::runtime {

Result<Engine*> open_engine(const std::string& path) {
  // RTLD_LOCAL: V8's and ICU's symbols stay out of the rest of the process.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = dlerror();
    return Error{Errc::NotFound, reason != nullptr ? reason : path + ": cannot be loaded"};
  }
  void* symbol = dlsym(library, kOpenEngineSymbol);
  if (symbol == nullptr) {
    dlclose(library);
    return Error{Errc::Unsupported, path + ": no symbol " + kOpenEngineSymbol};
  }
  return reinterpret_cast<OpenEngineFunction>(symbol)();
}

}  // namespace brokkr::runtime
