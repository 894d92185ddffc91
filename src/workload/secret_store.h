#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/log.h"
#include "base/random.h"
#include "base/result.h"
#include "crypto/xkey.h"
#include "io/loop.h"
#include "workload/desired.h"
#include "workload/secrets.h"

namespace brokkr::workload {

// What a node does with secrets: it keeps the boxes of NEX_SECRETS as they change, opens its own when a
// workload starts, seals copies for nodes that joined, and answers SECRETS. Values leave it only in an
// environment. Loop-confined.
class SecretStore {
 public:
  using Written = Callback<void(const Status&)>;
  struct Deps {
    io::Loop& loop;
    Random& random;
    Log& log;
    const crypto::CurveKey& key;  // outlives the store
    // Writes a key of NEX_SECRETS, only when `revision` is its last (0: it has no value); and deletes one.
    Callback<void(const std::string& key, const std::string& value, uint64_t revision, Written)> put;
    Callback<void(const std::string& key, uint64_t revision, Written)> erase;
  };
  explicit SecretStore(Deps);
  ~SecretStore();  // forgets those who wait
  SecretStore(const SecretStore&) = delete;
  SecretStore& operator=(const SecretStore&) = delete;

  // What the buckets hold, as it changes; `on_ready` once all of it was told, or nothing will be as there
  // is no JetStream.
  void on_secret(const std::string& key, std::string_view value, uint64_t revision);
  void on_secret_gone(const std::string& key);
  void on_node(const std::string& node, const std::string& xkey);
  void on_node_gone(const std::string& node);
  void on_ready(bool is_kept);

  // The environment of a workload about to start: what is sealed is opened and added, "secret://name"
  // becomes the value. Calls back from within when nothing has to be waited for; waits some seconds for
  // a box another node has to seal. Errors name the secret.
  void resolve(std::string_view ns, const RunRequest&, Callback<void(Result<Pairs>)> handler);
  static bool needs_resolving(const RunRequest&);
  // The same without waiting; NotFound when waiting may help.
  Result<Pairs> resolve_now(std::string_view ns, const RunRequest& run) { return try_resolve(std::string(ns), run); }

  void answer(std::string_view ns, SecretsRequest, Callback<void(Result<SecretsReply>)> handler);

 private:
  struct Kept {
    SecretRecord record;
    uint64_t revision = 0;
  };
  struct Waiting {
    std::string ns;
    RunRequest run;  // its environment only
    MonotonicTime deadline;
    Callback<void(Result<Pairs>)> handler;
  };
  // NotFound means that waiting may help.
  Result<Pairs> try_resolve(const std::string& ns, const RunRequest&);
  void look_again(bool is_late);
  void start_copies();
  void seal_copies();
  bool lacks_boxes(const Kept&) const;
  Words xkeys() const;
  SecretsReply list(std::string_view ns) const;

  Deps deps_;
  std::map<std::string, Kept> secrets_;        // by key of the bucket
  std::map<std::string, std::string> nodes_;   // id -> xkey
  std::vector<Waiting> waiting_;
  bool is_ready_ = false;
  bool is_kept_ = false;
  bool are_dumps_off_ = false;
  io::Timer copies_;
  io::Timer late_;
  // Tells answers that come late that the store has gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace brokkr::workload
