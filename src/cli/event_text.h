#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

// Advisories and metrics of servers and of JetStream as text. Pure.
namespace brokkr::cli {

enum class EventFormat : uint8_t { Short, Extended, CloudEvent };

// The event for people, or as a CloudEvents 1.0 envelope; empty when its type is unknown.
std::string event_text(const json::Value& event, EventFormat);

}  // namespace brokkr::cli
