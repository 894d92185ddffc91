#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "client/options.h"
#include "protocol/connect_options.h"

namespace brokkr::client {

// Adds to `connect` what the options prove the client's identity with beyond user, password and
// token: a token of operator mode, a public key, the signature of the server's `nonce`. Files are
// read here, so that a connection made later takes up what was renewed meanwhile. Fails with the
// file's trouble, or with Unsupported when a key is to sign and the server gives no nonce.
// Loop-confined: `options.sign` is called.
Status add_credentials(const Options& options, std::string_view nonce, protocol::ConnectOptions& connect);

}  // namespace brokkr::client
