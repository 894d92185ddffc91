#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "broker/jetstream_report.h"
#include "broker/monitor/connz.h"
#include "broker/monitor/documents.h"
#include "broker/monitor/facts.h"
#include "broker/monitor/subsz.h"
#include "broker/monitor/survey.h"
#include "broker/monitor/varz.h"

namespace brokkr::broker {

class Server;

// The monitoring documents, whoever asks: indented JSON of nats-server's shape. Asks the loops, so it
// blocks: only on threads that run no loop. Thread-safe. A document fails with Unavailable when the
// loops did not answer and with InvalidArgument, in nats-server's words, when the asker is wrong.
class Pages {
 public:
  explicit Pages(Server& server) : server_(server), survey_(server) {}
  // Lets every caller go at once; nothing is answered any more.
  void cancel() { survey_.cancel(); }

  DocumentHead head() const;
  std::optional<Varz> gather_varz();
  Result<std::string> varz();
  Result<std::string> connz(const ConnzOptions& options);
  Result<std::string> subsz(const SubszOptions& options);
  // Of all accounts or, with a name, of that one.
  Result<std::string> accountz(const std::string& account);
  // Only of those named, when any is; with `unused` also of accounts without a connection.
  Result<std::string> accstatz(const std::vector<std::string>& names, bool unused);
  Result<std::string> leafz(const LeafzOptions& options);
  Result<std::string> jsz(const JszOptions& options);
  Result<Healthz> healthz(const HealthzOptions& options);

  // One account's figures; null inside when there is no such account.
  std::optional<std::optional<AccountReport>> account(std::string_view name);
  Survey& survey() { return survey_; }

 private:
  Server& server_;
  Survey survey_;
};

// The JSON text without the white space between its parts.
std::string compact_json(std::string_view text);

}  // namespace brokkr::broker
