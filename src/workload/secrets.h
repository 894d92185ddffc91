#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "crypto/xkey.h"
#include "workload/desired.h"
#include "workload/run_request.h"

// Secrets and sealed environments: values only nodes can read. A box also holds the namespace and the
// name it is of, so that one moved to another key opens for nobody. Pure.
namespace brokkr::workload {

constexpr std::string_view kSecretScheme = "secret://";
constexpr size_t kSecretBytesMax = 64 << 10;

// Letters, digits, - and _, at most 128.
bool is_secret_name(std::string_view);
// The key of NEX_SECRETS: "<ns>.<name>".
std::string secret_key(std::string_view ns, std::string_view name);

// One box for each recipient. Fails with InvalidArgument for a bad name or recipient, LimitExceeded.
Result<SecretRecord> seal_secret(std::string_view ns, std::string_view name, std::string_view value,
                                 const crypto::CurveKey& sender, const Words& recipients, WallTime now);
// Fails with NotFound when no box is for `key`, Corrupt when the box is not what it should be.
Result<std::string> open_secret(std::string_view ns, std::string_view name, const SecretRecord&,
                                const crypto::CurveKey& key);
// The same secret sealed by `key`, which can open it, to its recipients of before and `more`.
Result<SecretRecord> reseal_secret(std::string_view ns, std::string_view name, const SecretRecord&,
                                   const crypto::CurveKey& key, const Words& more);
bool has_box_for(const SecretRecord&, std::string_view xkey);

// `sealed_environment` for several nodes: a JSON object of boxes by xkey. A box alone, base64, is for
// one node, as Nex has it.
Result<std::string> seal_environment(const Pairs&, const crypto::CurveKey& sender, const Words& recipients);
Result<Pairs> open_environment(const RunRequest&, const crypto::CurveKey& key);

// The names behind "secret://" in the environment, each once.
Words secret_names(const Pairs& environment);

// Asks about the secrets of a namespace: `SECRETS`, answered by one node.
struct SecretsRequest {
  enum class Action : uint8_t { List, Set, Remove };
  Action action = Action::List;
  std::string name;
  SecretRecord record;  // Set
};
struct SecretFacts {
  std::string name;
  std::string updated;  // RFC 3339
  uint32_t nodes = 0;   // that can open it
};
struct SecretsReply {
  std::vector<SecretFacts> secrets;  // after the change, by name; never a value
  Words xkeys;                       // of the nodes there are: whom to seal to
};
std::string encode(const SecretsRequest&);
std::string encode(const SecretsReply&);
Result<SecretsRequest> decode_secrets_request(std::string_view);
Result<SecretsReply> decode_secrets_reply(std::string_view);

// Overwrites the text, then empties it.
void wipe(std::string&);

}  // namespace brokkr::workload
