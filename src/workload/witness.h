#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "client/connection.h"

namespace brokkr::workload {

// How nodes ask each other, past JetStream, whether they have the desired state: what the answers mean is
// in scheduler.h. The subject is $NEX.SVC.system.control.WITNESS, which no workload may use; a question
// is {"node": id}, every other node answers {"node": id, "is_blind": bool}. Loop-confined.
class Witness {
 public:
  struct Events {
    std::function<bool()> is_blind;  // what we answer
    std::function<void(const std::string& node, bool is_blind, MonotonicTime asked_at)> on_answer;
  };
  // `connection` outlives it.
  Witness(client::Connection& connection, std::string node, Events events);
  ~Witness();
  Witness(const Witness&) = delete;
  Witness& operator=(const Witness&) = delete;

  // Answers from now on.
  Status open();
  // Asks all others, unless it did so within kAskEvery.
  void ask(MonotonicTime now);

 private:
  void answer(const client::Message& question);

  client::Connection& connection_;
  const std::string node_;
  const Events events_;
  MonotonicTime asked_at_{};
  std::unique_ptr<client::Subscription> questions_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace brokkr::workload
