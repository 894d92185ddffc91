#include "base/bytes.h"
#include "config/reader.h"

// The block `websocket`.
namespace brokkr::config {
namespace {

void read_own_authorization(Reader& reader, const Value& value, const std::string& name,
                            WebsocketOptions& ws) {
  reader.for_each_member(value, name, [&](const std::string& key, const Member& member) {
    if (key == "user" || key == "username") {
      reader.read(member.value, key, ws.user);
    } else if (key == "pass" || key == "password") {
      reader.read(member.value, key, ws.password);
    } else if (key == "token") {
      reader.read(member.value, key, ws.token);
    } else if (key == "timeout") {
      Duration timeout{};
      reader.read_seconds(member.value, key, timeout);
      if (timeout > Duration::zero()) ws.auth_timeout = timeout;
    } else {
      return false;
    }
    return true;
  });
}

void read_headers(Reader& reader, const Value& value, WebsocketOptions& ws) {
  reader.for_each_member(value, "headers", [&](const std::string& key, const Member& member) {
    std::string text;
    reader.read(member.value, key, text);
    ws.headers[member.name] = std::move(text);
    return true;
  });
}

// A cookie's name and the field it stands for; null when `name` is none.
std::string* cookie_field(const std::string& name, WebsocketOptions& ws) {
  if (name == "jwt_cookie") return &ws.jwt_cookie;
  if (name == "user_cookie") return &ws.user_cookie;
  if (name == "pass_cookie") return &ws.pass_cookie;
  if (name == "token_cookie") return &ws.token_cookie;
  return nullptr;
}

bool is_origins(std::string_view name) {
  return name == "allowed_origins" || name == "allowed_origin" || name == "allow_origins" ||
         name == "allow_origin" || name == "origins" || name == "origin";
}

bool read_websocket_field(Reader& reader, const std::string& name, const Value& value,
                          WebsocketOptions& ws) {
  if (name == "listen") {
    HostPort address;
    reader.read_listen(value, name, address);
    ws.host = address.host;
    ws.port = address.port;
  } else if (name == "port") {
    reader.read_port(value, name, ws.port);
  } else if (name == "host" || name == "net") {
    reader.read(value, name, ws.host);
  } else if (name == "advertise") {
    reader.read(value, name, ws.advertise);
  } else if (name == "no_tls") {
    reader.read(value, name, ws.no_tls);
  } else if (name == "tls") {
    read_tls(reader, value, ws.tls);
  } else if (name == "same_origin") {
    reader.read(value, name, ws.same_origin);
  } else if (is_origins(name)) {
    ws.allowed_origins.clear();
    reader.read_strings(value, name, ws.allowed_origins);
  } else if (name == "handshake_timeout") {
    reader.read_seconds(value, name, ws.handshake_timeout);
  } else if (name == "compress" || name == "compression") {
    reader.read(value, name, ws.compression);
  } else if (name == "authorization" || name == "authentication") {
    read_own_authorization(reader, value, name, ws);
  } else if (std::string* const cookie = cookie_field(name, ws)) {
    reader.read(value, name, *cookie);
  } else if (name == "no_auth_user") {
    reader.read(value, name, ws.no_auth_user);
  } else if (name == "headers") {
    read_headers(reader, value, ws);
  } else if (name == "ping_interval") {
    reader.read_duration(value, name, ws.ping_interval);
  } else {
    return false;
  }
  return true;
}

}  // namespace

void read_websocket(Reader& reader, const Value& value, Options& options) {
  WebsocketOptions ws;
  reader.for_each_member(value, "websocket", [&](const std::string& name, const Member& member) {
    return read_websocket_field(reader, name, member.value, ws);
  });
  options.websocket = std::move(ws);
}

}  // namespace brokkr::config
