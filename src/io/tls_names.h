#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace brokkr::io {

// Names as OpenSSL wants them, joined with colons. TLS 1.3 has a list of its own.
struct CipherLists {
  std::string tls12;
  std::string tls13;
};

// Takes IANA's names, which are Go's, and OpenSSL's; an empty list stands for the good ones, those
// with the best speed first. Fails with InvalidArgument on a name it cannot use. Pure.
Result<CipherLists> cipher_lists(const std::vector<std::string>& names);
// The same for key exchange groups. Post-quantum groups the library lacks are left out.
Result<std::string> group_list(const std::vector<std::string>& names);

}  // namespace brokkr::io
