#pragma once

#include <string>
#include <string_view>

#include "io/tls.h"

struct x509_st;
struct ssl_st;

namespace brokkr::io {

// What the certificate says. Pure.
TlsCertificate describe_certificate(x509_st* certificate);
// After a handshake: what was agreed on and who the peer is.
TlsFacts describe_session(ssl_st* ssl);
// The first reason in this thread's OpenSSL queue, which is emptied; `otherwise` when there is none.
std::string openssl_error(std::string_view otherwise);

}  // namespace brokkr::io
