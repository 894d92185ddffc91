#pragma once

#include <memory>
#include <string_view>

#include "base/log.h"
#include "broker/connection.h"
#include "broker/tls_rules.h"
#include "io/loop.h"
#include "io/tls.h"

namespace brokkr::broker {

// The beginning of a connection to a port with TLS, until its stream is one that commands come in
// by: INFO before or behind the handshake, and whether there is a handshake at all, which the first
// byte tells. Owned by its connection, which it ends or opens. Loop-confined.
//
//   AwaitingHello --(byte)--> Handshake           handshake_first with a fallback
//                 --(time)--> INFO, then as below
//   INFO -> Sniffing --(0x16)--> Handshake        allow_non_tls
//                    --(other byte, time)--> plain text
//   INFO -> Handshake                             tls
//   Handshake -> INFO                             handshake_first
class Connection::TlsStart final : private io::TransportHandler {
 public:
  TlsStart(Connection& connection, std::shared_ptr<const TlsRules> rules);
  // Nothing of this may be touched afterwards.
  void begin();

 private:
  enum class Stage : uint8_t { AwaitingHello, Sniffing, Handshake };

  void on_readable() override;
  void on_writable() override {}
  void send_info_first();
  void begin_handshake(std::string_view early);
  void on_handshake(const Status&);
  void on_time_out();
  void go_on_without(std::string_view input);
  bool is_allowed_by_rate();
  void refuse(CloseReason, std::string_view answer, LogLevel, const std::string& why);
  Shard& shard() { return connection_.shard_; }

  Connection& connection_;
  const std::shared_ptr<const TlsRules> rules_;
  Stage stage_ = Stage::Handshake;
  bool is_first_ = false;  // the handshake comes before INFO
  io::TlsTransport* tls_ = nullptr;  // what the connection's transport is from the handshake on
  io::Timer timer_;
};

}  // namespace brokkr::broker
