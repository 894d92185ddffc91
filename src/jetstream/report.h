#pragma once

#include <string>

#include "broker/jetstream_report.h"
#include "jetstream/jetstream.h"

namespace brokkr::jetstream {

// Tells the monitoring pages of JetStream. Loop-confined.
class Report final : public broker::JetStreamReporter {
 public:
  explicit Report(JetStream& jetstream) : jetstream_(jetstream) {}
  broker::JetStreamSummary summary() override;
  bool is_enabled_for(const std::string& account) override {
    return jetstream_.find_account(account) != nullptr;
  }
  std::string jsz(const broker::JszOptions& options) override;
  broker::JetStreamProblem check_health(const std::string& account, const std::string& stream,
                                        const std::string& consumer) override;
  void on_leaf_opened(const std::string& account) override;

 private:
  JetStream& jetstream_;
};

}  // namespace brokkr::jetstream
