#pragma once

#include <string>

namespace brokkr::broker {

class Connection;

// Who a client is, as a JSON object in the form of nats-server's ClientInfo: for advisories.
std::string client_info(const Connection& connection);
// The little that another account is told: which account, and how long the way to the client is.
std::string brief_client_info(const Connection& connection);

}  // namespace brokkr::broker
