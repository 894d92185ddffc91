#include "workload/secret_store.h"

#include <sys/resource.h>

#include <algorithm>

namespace brokkr::workload {
namespace {

constexpr Duration kBoxWait = std::chrono::seconds(10);
// All nodes see a newcomer at once; with different pauses mostly one of them seals.
constexpr Duration kCopyPauseMin = std::chrono::milliseconds(100);
constexpr Duration kCopyPauseSpread = std::chrono::milliseconds(900);

// A limit of one byte also keeps a core from a program that reads it from a pipe, zero does not.
void forbid_core_dumps() {
  const rlimit none{1, 1};
  (void)setrlimit(RLIMIT_CORE, &none);
}

}  // namespace

SecretStore::SecretStore(Deps deps)
    : deps_(std::move(deps)),
      copies_(deps_.loop, [this] { seal_copies(); }),
      late_(deps_.loop, [this] { look_again(true); }) {}

SecretStore::~SecretStore() { *alive_ = false; }

void SecretStore::on_secret(const std::string& key, std::string_view value, uint64_t revision) {
  auto record = decode_secret_record(value);
  Kept& kept = secrets_[key];
  // Whoever sets it again writes over what cannot be read; until then what was known counts.
  kept.revision = revision;
  if (!record) return deps_.log.warn("workload: secret " + key + " is not readable: " + record.error().text);
  kept.record = std::move(*record);
  if (lacks_boxes(kept)) start_copies();
  look_again(false);
}

void SecretStore::on_secret_gone(const std::string& key) { secrets_.erase(key); }

void SecretStore::on_node(const std::string& node, const std::string& xkey) {
  std::string& known = nodes_[node];
  if (known == xkey) return;
  known = xkey;
  start_copies();
}

void SecretStore::start_copies() {
  const uint64_t more = deps_.random.below(static_cast<uint64_t>(kCopyPauseSpread.count()));
  copies_.start(kCopyPauseMin + Duration(static_cast<int64_t>(more)));
}

void SecretStore::on_node_gone(const std::string& node) { nodes_.erase(node); }

void SecretStore::on_ready(bool is_kept) {
  is_ready_ = true;
  is_kept_ = is_kept;
  look_again(false);
}

Words SecretStore::xkeys() const {
  Words keys{deps_.key.public_key()};
  for (const auto& [node, xkey] : nodes_) {
    if (!xkey.empty() && std::find(keys.begin(), keys.end(), xkey) == keys.end()) keys.push_back(xkey);
  }
  return keys;
}

bool SecretStore::lacks_boxes(const Kept& kept) const {
  if (!has_box_for(kept.record, deps_.key.public_key())) return false;  // not ours to copy
  const Words wanted = xkeys();
  return std::any_of(wanted.begin(), wanted.end(), [&](const auto& xkey) { return !has_box_for(kept.record, xkey); });
}

void SecretStore::seal_copies() {
  for (const auto& [key, kept] : secrets_) {
    if (!lacks_boxes(kept)) continue;
    const size_t dot = key.find('.');
    if (dot == std::string::npos) continue;
    auto again = reseal_secret(key.substr(0, dot), key.substr(dot + 1), kept.record, deps_.key, xkeys());
    if (!again) {
      deps_.log.warn("workload: secret " + key + " could not be sealed again: " + again.error().text);
      continue;
    }
    // Whoever was first wins; what they wrote comes back and is looked at again.
    deps_.put(key, encode(*again), kept.revision, [](const Status&) {});
  }
}

bool SecretStore::needs_resolving(const RunRequest& run) {
  return !run.sealed_environment.empty() || !secret_names(run.environment).empty();
}

Result<Pairs> SecretStore::try_resolve(const std::string& ns, const RunRequest& run) {
  if (!are_dumps_off_) forbid_core_dumps();
  are_dumps_off_ = true;
  auto sealed = open_environment(run, deps_.key);
  if (!sealed) return sealed.error();
  Pairs environment = run.environment;
  for (auto& pair : *sealed) environment.push_back(std::move(pair));
  for (auto& [variable, value] : environment) {
    if (!value.starts_with(kSecretScheme)) continue;
    const std::string name = value.substr(kSecretScheme.size());
    const auto found = secrets_.find(secret_key(ns, name));
    const std::string what = "secret \"" + name + "\" of namespace \"" + ns + "\"";
    if (found == secrets_.end()) {
      if (!is_ready_) return Error{Errc::NotFound, what + " is not known yet"};
      if (!is_kept_) return Error{Errc::Unavailable, what + ": secrets need JetStream, the server has none"};
      return Error{Errc::InvalidArgument, what + " does not exist"};
    }
    auto opened = open_secret(ns, name, found->second.record, deps_.key);
    if (!opened) return opened.error();
    value = std::move(*opened);
  }
  return environment;
}

void SecretStore::resolve(std::string_view ns, const RunRequest& run, Callback<void(Result<Pairs>)> handler) {
  auto environment = try_resolve(std::string(ns), run);
  if (environment || environment.error().code != Errc::NotFound) return handler(std::move(environment));
  Waiting& one = waiting_.emplace_back();
  one.ns = ns;
  one.run.environment = run.environment;
  one.run.sealed_environment = run.sealed_environment;
  one.run.sender_xkey = run.sender_xkey;
  one.deadline = deps_.loop.clock().now() + kBoxWait;
  one.handler = std::move(handler);
  if (waiting_.size() == 1) late_.start(kBoxWait);
}

void SecretStore::look_again(bool is_late) {
  const MonotonicTime now = deps_.loop.clock().now();
  std::vector<std::pair<Callback<void(Result<Pairs>)>, Result<Pairs>>> done;
  std::erase_if(waiting_, [&](Waiting& one) {
    auto environment = try_resolve(one.ns, one.run);
    const bool may_wait = !environment && environment.error().code == Errc::NotFound && !(is_late && now >= one.deadline);
    if (may_wait) return false;
    done.emplace_back(std::move(one.handler), std::move(environment));
    return true;
  });
  if (waiting_.empty()) {
    late_.stop();
  } else if (is_late) {
    late_.start(std::max(waiting_.front().deadline - now, Duration(std::chrono::milliseconds(1))));
  }
  // The handlers may ask again, or end this store.
  for (auto& [handler, result] : done) handler(std::move(result));
}

SecretsReply SecretStore::list(std::string_view ns) const {
  SecretsReply reply;
  const std::string prefix = std::string(ns) + ".";
  for (auto it = secrets_.lower_bound(prefix); it != secrets_.end() && it->first.starts_with(prefix); ++it) {
    const SecretRecord& record = it->second.record;
    reply.secrets.push_back({it->first.substr(prefix.size()), record.updated, static_cast<uint32_t>(record.boxes.size())});
  }
  reply.xkeys = xkeys();
  return reply;
}

void SecretStore::answer(std::string_view ns, SecretsRequest request, Callback<void(Result<SecretsReply>)> handler) {
  if (!is_ready_ || !is_kept_) return handler(Error{Errc::Unavailable, "secrets need JetStream, the server has none"});
  if (request.action == SecretsRequest::Action::List) return handler(list(ns));
  const std::string key = secret_key(ns, request.name);
  const auto found = secrets_.find(key);
  const uint64_t revision = found == secrets_.end() ? 0 : found->second.revision;
  auto written = [this, alive = alive_, ns = std::string(ns), handler = std::move(handler)](const Status& status) {
    if (!*alive) return;
    if (!status) return handler(status.error());
    handler(list(ns));
  };
  if (request.action == SecretsRequest::Action::Remove) {
    if (revision == 0) return written(Error{Errc::NotFound, "no secret \"" + request.name + "\""});
    return deps_.erase(key, revision, std::move(written));
  }
  for (const auto& [xkey, box] : request.record.boxes) {
    if (!crypto::is_public_key(xkey, crypto::NkeyType::Curve)) {
      return written(Error{Errc::InvalidArgument, "\"" + xkey + "\" is no xkey"});
    }
  }
  // Only what this node can open can be copied to others later, and is of this name at all.
  auto value = open_secret(ns, request.name, request.record, deps_.key);
  if (!value) return written(Error{Errc::InvalidArgument, value.error().text});
  wipe(*value);
  deps_.put(key, encode(request.record), revision, std::move(written));
}

}  // namespace brokkr::workload
