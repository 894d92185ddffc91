#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/log.h"
#include "base/result.h"
#include "client/connection.h"
#include "io/loop.h"
#include "workload/control.h"
#include "workload/nex_v1_json.h"

namespace brokkr::workload {

// Answers the requests of Nex 0.2.7, `$NEX.PING` and so on, so that its `nex` can drive this node. What
// changes something it asks the node for as everybody does, by the control API. Loop-confined.
class NexV1 {
 public:
  struct Deps {
    io::Loop& loop;
    Log& log;
    client::Connection& connection;  // outlives this
  };
  struct Options {
    std::string node_id;
    Words issuers;  // whose signatures count; empty: any
    bool is_sandboxed = true;
    Callback<v1::NodeFacts()> facts;  // as they are now
    Callback<bool()> takes_work;      // whether it bids
  };
  // Fails as subscribing does.
  static Result<std::unique_ptr<NexV1>> start(const Deps&, Options);
  ~NexV1();
  NexV1(const NexV1&) = delete;
  NexV1& operator=(const NexV1&) = delete;

 private:
  NexV1(const Deps&, Options);
  Status subscribe(std::string subject, void (NexV1::*handler)(const client::Message&));
  void on_ping(const client::Message&);
  void on_auction(const client::Message&);
  void on_workload_ping(const client::Message&);
  void on_info(const client::Message&);
  void on_deploy(const client::Message&);
  void on_stop(const client::Message&);
  void on_lameduck(const client::Message&);

  void respond(const std::string& reply, const std::string& body);
  // Asks the node itself; `then` gets the body of its answer, or why there is none.
  void ask_node(const std::string& subject, const std::string& body, Callback<void(Result<std::string>)> then);
  void forget_gone();

  const Deps deps_;
  const Options options_;
  std::map<std::string, v1::Token> deployed_;  // by workload id: who signed what this deployed
  std::vector<std::unique_ptr<client::Subscription>> subscriptions_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace brokkr::workload
