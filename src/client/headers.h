#pragma once

#include "protocol/headers.h"

// Header blocks, for rooms that are clients and have no other business with the wire.
namespace brokkr::client {

using protocol::Header;
using protocol::Headers;
using protocol::HeaderWriter;
using protocol::with_header;

}  // namespace brokkr::client
