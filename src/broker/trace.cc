// The protocol trace: a line in the log for every command and message, in nats-server's words.
#include "auth/authenticator.h"
#include "broker/connection.h"
#include "broker/shard.h"

namespace brokkr::broker {
namespace {

constexpr std::string_view kRedacted = "[REDACTED]";

std::string_view verb_text(protocol::Verb verb) {
  switch (verb) {
    case protocol::Verb::Pub: return "PUB";
    case protocol::Verb::Hpub: return "HPUB";
    case protocol::Verb::Sub: return "SUB";
    case protocol::Verb::Unsub: return "UNSUB";
    case protocol::Verb::Ping: return "PING";
    case protocol::Verb::Pong: return "PONG";
    case protocol::Verb::Connect: return "CONNECT";
    case protocol::Verb::Info: return "INFO";
    case protocol::Verb::Ok: return "+OK";
    case protocol::Verb::Err: return "-ERR";
  }
  return "";
}

// Nothing a client sends may end a line of the log or speak to a terminal.
void append_escaped(std::string& out, std::string_view text, bool in_quotes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\r' || c == '\n' || c == '\t') {
      out += '\\';
      out += c == '\r' ? 'r' : c == '\n' ? 'n' : 't';
    } else if (in_quotes && (c == '"' || c == '\\')) {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte >= 0x7f) {
      out += "\\x";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    } else {
      out += c;
    }
  }
}

// What stands behind `"key":` becomes [REDACTED], up to the end of the text or number.
void redact(std::string& json, std::string_view key) {
  const std::string quoted = "\"" + std::string(key) + "\"";
  for (size_t at = json.find(quoted); at != std::string::npos; at = json.find(quoted, at)) {
    at = json.find_first_not_of(" \t:", at + quoted.size());
    if (at == std::string::npos) return;
    size_t end = at;
    if (json[at] == '"') {
      ++at;
      for (end = at; end < json.size() && json[end] != '"'; ++end) {
        if (json[end] == '\\') ++end;
      }
      end = std::min(end, json.size());
    } else {
      end = std::min(json.find_first_of(",}", at), json.size());
    }
    json.replace(at, end - at, kRedacted);
  }
}

}  // namespace

std::string Connection::log_name() const {
  std::string out = peer().host + ":" + std::to_string(peer().port);
  if (origin_.websocket != nullptr && !origin_.websocket->forwarded_for.empty()) {
    const std::string& behind_proxy = origin_.websocket->forwarded_for;
    const bool is_ipv6 = behind_proxy.find(':') != std::string::npos;
    out = (is_ipv6 ? "[" + behind_proxy + "]" : behind_proxy) + "/" + out;
  }
  out.append(type() == ConnectionType::WebSocket ? " - wid:" : " - cid:").append(std::to_string(id_));
  if (!connect_received_) return out;
  std::string client;
  if (!connect_.version.empty()) client = "v" + connect_.version;
  for (const std::string& part : {connect_.lang, connect_.name}) {
    if (!part.empty()) client += (client.empty() ? "" : ":") + part;
  }
  if (!client.empty()) {
    out += " - \"";
    append_escaped(out, client, true);
    out += '"';
  }
  if (const std::string user = shown_user(); !user.empty()) {
    out += " - \"";
    append_escaped(out, account_->name() + "/user:" + user, true);
    out += '"';
  }
  return out;
}

void Connection::trace(std::string_view direction, std::string_view text) const {
  if (!shard_.log().is_on(LogLevel::Trace)) return;
  std::string line = log_name();
  line.append(" - ").append(direction).append(" [");
  append_escaped(line, text, false);
  shard_.log().trace(line + "]");
}

void Connection::trace_command(const protocol::Command& command, std::string_view input) const {
  std::string_view text = input.substr(0, command.size);
  text = text.substr(0, text.find('\n'));
  if (text.ends_with('\r')) text.remove_suffix(1);
  const std::string_view verb = verb_text(command.verb);
  text.remove_prefix(std::min(verb.size(), text.size()));
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  std::string line(verb);
  if (!text.empty()) line.append(" ").append(text);
  if (command.verb == protocol::Verb::Connect) {
    for (const std::string_view key : {"pass", "auth_token", "jwt", "sig"}) redact(line, key);
  }
  trace("<<-", line);
  if (command.verb == protocol::Verb::Pub || command.verb == protocol::Verb::Hpub) {
    trace_payload("<<-", command.payload, command.header_size);
  }
}

void Connection::trace_delivery(std::string_view line, std::string_view payload,
                                uint32_t header_size) const {
  trace("->>", line.substr(0, line.size() - 2));
  trace_payload("->>", payload, header_size);
}

void Connection::trace_payload(std::string_view direction, std::string_view payload,
                               uint32_t header_size) const {
  if (shard_.settings().trace_headers) {
    if (header_size == 0) return;
    payload = payload.substr(0, header_size);
  }
  const size_t length_max = shard_.settings().max_traced_msg_len;
  const bool is_cut = length_max > 0 && payload.size() > length_max;
  std::string line = log_name();
  line.append(" - ").append(direction).append(" MSG_PAYLOAD: [\"");
  append_escaped(line, is_cut ? payload.substr(0, length_max) : payload, true);
  shard_.log().trace(line + (is_cut ? "...\"]" : "\"]"));
}

}  // namespace brokkr::broker
