#pragma once

#include <string>

#include "broker/jetstream_report.h"

namespace brokkr::jetstream {

class JetStream;

// Tells the monitoring pages of JetStream. Loop-confined.
class Report final : public broker::JetStreamReporter {
 public:
  explicit Report(JetStream& jetstream) : jetstream_(jetstream) {}
  broker::JetStreamSummary summary() override;
  std::string jsz(const broker::JszOptions& options) override;
  broker::JetStreamProblem check_health(const std::string& account, const std::string& stream,
                                        const std::string& consumer) override;

 private:
  JetStream& jetstream_;
};

}  // namespace brokkr::jetstream
