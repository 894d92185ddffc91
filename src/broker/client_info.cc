#include "broker/client_info.h"

#include "base/json.h"
#include "broker/shard.h"

namespace brokkr::broker {

std::string client_info(const Connection& connection) {
  json::Writer out;
  const auto text = [&out](std::string_view name, std::string_view value) {
    if (!value.empty()) out.field(name, value);
  };
  out.begin_object();
  out.field("start", format_rfc3339(connection.start_time()));
  text("host", connection.peer().host);
  out.field("id", connection.id());
  text("acc", connection.account()->name());
  text("user", connection.shown_user());
  text("name", connection.connect_options().name);
  text("lang", connection.connect_options().lang);
  text("ver", connection.connect_options().version);
  const int64_t round_trip = connection.round_trip().count();
  if (round_trip != 0) out.field("rtt", round_trip);
  text("server", connection.shard().settings().server_name);
  out.field("kind", "Client").field("client_type", client_type_name(connection.type()));
  out.end_object();
  return out.take();
}

std::string brief_client_info(const Connection& connection) {
  json::Writer out;
  out.begin_object().field("acc", connection.account()->name());
  const int64_t round_trip = connection.round_trip().count();
  if (round_trip != 0) out.field("rtt", round_trip);
  out.end_object();
  return out.take();
}

}  // namespace brokkr::broker
