#pragma once

#include <v8.h>

#include "runtime/host.h"

namespace brokkr::runtime {

// The five values the prelude gets for a host's answer: code, error, header block, payload, more.
// False with an exception thrown when they do not fit the function's budget.
bool reply_to_values(v8::Isolate*, const HostReply&, v8::Local<v8::Value> (&out)[5]);

}  // namespace brokkr::runtime
