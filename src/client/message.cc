#include "client/message.h"

#include "protocol/headers.h"
#include "subject/subject.h"

namespace brokkr::client {

int Message::status() const {
  if (headers.empty()) return 0;
  const auto parsed = protocol::Headers::parse(headers);
  return parsed ? parsed->status() : 0;
}

std::string_view Message::header(std::string_view key) const {
  if (headers.empty()) return {};
  const auto parsed = protocol::Headers::parse(headers);
  return parsed ? parsed->get(key) : std::string_view{};
}

std::string_view Message::token(size_t index) const { return subject::token_at(subject, index); }

bool Message::matches(std::string_view pattern) const { return subject::matches(pattern, subject); }

}  // namespace brokkr::client
