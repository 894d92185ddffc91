#include "base/result.h"

#include <cstring>

namespace brokkr {

const char* to_string(Errc code) {
  switch (code) {
    case Errc::InvalidArgument: return "invalid argument";
    case Errc::InvalidSubject: return "invalid subject";
    case Errc::NotFound: return "not found";
    case Errc::AlreadyExists: return "already exists";
    case Errc::PermissionDenied: return "permission denied";
    case Errc::LimitExceeded: return "limit exceeded";
    case Errc::Truncated: return "truncated";
    case Errc::Corrupt: return "corrupt";
    case Errc::Syntax: return "syntax error";
    case Errc::Unavailable: return "unavailable";
    case Errc::TimedOut: return "timed out";
    case Errc::Closed: return "closed";
    case Errc::NoResponders: return "no responders";
    case Errc::Unsupported: return "unsupported";
    case Errc::OutOfSpace: return "out of space";
    case Errc::System: return "system error";
  }
  return "unknown";
}

Error system_error(const char* what, int error_number) {
  return Error{Errc::System, std::string(what) + ": " + std::strerror(error_number)};
}

}  // namespace brokkr
