#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "auth/authenticator.h"
#include "auth/callout.h"
#include "base/callback.h"
#include "broker/origin.h"
#include "io/loop.h"
#include "protocol/connect_options.h"

namespace brokkr::broker {

class InternalSubscription;
class Shard;
struct Message;

// Who wants to come in, as the service of an auth callout is told.
struct CalloutClient {
  uint64_t id = 0;
  std::string host;
  std::string kind = "Client";  // or "Leafnode"
  ConnectionType type = ConnectionType::Tcp;
  std::string nonce;
  protocol::ConnectOptions connect;
  std::string jwt;  // the one that counts; may come from a cookie
  std::string user_name;  // by the credentials
  std::vector<std::string> tags;
  std::string name_tag;
  std::shared_ptr<const TlsFacts> tls;
};

// Asks the service of an auth callout about connections of this loop, and judges its answers.
// Bounded; each question has an answer, if only that nobody gave one in time. Loop-confined.
class Callouts {
 public:
  using Done = Callback<void(const auth::Verdict&)>;
  explicit Callouts(Shard& shard);
  ~Callouts();

  // False, and `done` is not called, when too many questions are open.
  bool ask(const CalloutClient& client, const auth::Verdict& verdict, Done done);

 private:
  static constexpr size_t kOpenMax = 4096;
  struct Question {
    auth::CalloutQuestion question;
    Done done;
    std::string answer;
    bool has_answer = false;
    bool was_account_loaded = false;
    std::unique_ptr<io::Timer> timer;
  };
  void listen(const std::string& account);
  void on_answer(uint64_t id, std::string answer);
  void judge(uint64_t id);
  void end(uint64_t id, const auth::Verdict& verdict);
  Result<std::string> write_request(const CalloutClient& client, auth::CalloutQuestion& question);

  Shard& shard_;
  const std::string inbox_;
  uint64_t next_id_ = 0;
  std::unordered_map<uint64_t, std::unique_ptr<Question>> open_;
  std::map<std::string, std::unique_ptr<InternalSubscription>, std::less<>> inboxes_;  // by account
  std::shared_ptr<bool> is_alive_;
};

}  // namespace brokkr::broker
