#include "cli/message_text.h"

#include "base/bytes.h"
#include "cli/files.h"
#include "client/headers.h"

namespace brokkr::cli {

std::string body_text(std::string_view payload) {
  if (payload.empty()) payload = "nil body";
  return std::string(payload) + (payload.ends_with('\n') ? "\n" : "\n\n\n");
}

std::vector<std::string> header_lines(std::string_view block) {
  std::vector<std::string> lines;
  const auto headers = client::Headers::parse(block);
  if (!headers) return lines;
  if (headers->status() != 0) {
    lines.push_back("Status: " + std::to_string(headers->status()));
    if (!headers->status_text().empty()) {
      lines.push_back("Description: " + std::string(headers->status_text()));
    }
  }
  for (const client::Header& header : *headers) {
    lines.push_back(std::string(header.key) + ": " + std::string(header.value));
  }
  return lines;
}

std::string message_json(const client::Message& message) {
  json::Writer out({0, false});
  out.begin_object().field("subject", message.subject);
  if (!message.reply.empty()) out.field("reply", message.reply);
  if (const auto headers = client::Headers::parse(message.headers)) {
    if (headers->status() != 0) out.field("status", headers->status());
    std::vector<std::string_view> keys;
    out.key("headers").begin_object();
    for (const client::Header& header : *headers) {
      bool is_written = false;
      for (const std::string_view key : keys) is_written |= key == header.key;
      if (is_written) continue;
      keys.push_back(header.key);
      out.key(header.key).begin_array();
      for (const std::string_view value : headers->find_all(header.key)) out.string(value);
      out.end_array();
    }
    out.end_object();
  }
  if (is_valid_utf8(message.payload)) {
    out.field("payload", message.payload);
  } else {
    out.field("payload_base64", base64_encode(message.payload));
  }
  return out.end_object().take();
}

Result<std::string> translate(const std::vector<std::string>& words, std::string_view payload) {
  if (words.empty()) return std::string(payload);
  auto result = run_program(words, payload, {});
  if (!result) return result.error();
  if (!result->is_success) return Error{Errc::System, "\"" + words[0] + "\" failed"};
  return std::move(result->output);
}

}  // namespace brokkr::cli
