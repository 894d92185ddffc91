#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "auth/jwt_directory.h"
#include "base/callback.h"
#include "base/clock.h"
#include "base/result.h"
#include "config/options_auth.h"
#include "io/loop.h"
#include "io/worker.h"

namespace brokkr::broker {

// Where the JWTs of accounts come from: a folder or a web server, never on a loop's thread. Answers
// come in on the main loop. Main loop only.
class AccountSource {
 public:
  using Kind = config::ResolverOptions::Kind;
  // Makes the folder when there is to be one.
  static Result<std::unique_ptr<AccountSource>> open(const config::ResolverOptions& options,
                                                     io::Loop& main_loop, const Clock& clock);
  ~AccountSource();

  Kind kind() const { return options_.kind; }
  const config::ResolverOptions& options() const { return options_; }
  bool has_directory() const { return directory_ != nullptr; }
  bool may_delete() const { return directory_ != nullptr && directory_->may_delete(); }

  // NotFound when there is no such account. The error names no secret. At once when too many wait.
  void fetch(const std::string& id, Callback<void(Result<std::string>)> done);
  // For those with a directory. Whether anything changed.
  void save(const std::string& id, std::string jwt, bool only_newer,
            Callback<void(Result<bool>)> done);
  void remove(const std::string& id, Callback<void(Result<bool>)> done);
  using Tokens = std::vector<std::pair<std::string, std::string>>;
  // All tokens, and the digest over them.
  void list(Callback<void(Tokens, std::string digest)> done);
  // The digest alone.
  void digest(Callback<void(std::string)> done);
  void expire();

 private:
  AccountSource(const config::ResolverOptions& options, io::Loop& main_loop);
  template <typename Out, typename Work>
  void run(io::Worker& worker, Out busy, Work work, Callback<void(Out)> done);

  const config::ResolverOptions options_;
  io::Loop& main_loop_;
  std::shared_ptr<auth::JwtDirectory> directory_;  // used on the first worker's thread alone
  std::shared_ptr<bool> is_alive_;
  // One for the directory; several for a web server, so that a slow answer holds up few.
  std::vector<std::unique_ptr<io::Worker>> workers_;
  size_t next_worker_ = 0;
};

// GET; blocks for up to `timeout`. Fails unless the answer is 200 with at most a JWT's size.
Result<std::string> fetch_url(const std::string& url, const config::ResolverOptions& options);

}  // namespace brokkr::broker
