// Whom a node trusts with what: signed deploys, secrets, and the requests of Nex 0.2.7.
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "subject/subject.h"
#include "workload/node.h"

namespace brokkr::workload {
namespace {

constexpr size_t kTrustNamespaceToken = 2;  // $NEX.SVC.<ns>.control.<verb>

Status status_of(const client::ApiError& error) {
  // Somebody else's value stands there.
  if (error.err_code == client::kWrongLastSequenceError || error.err_code == client::kWrongLastSequenceConstantError) {
    return Error{Errc::AlreadyExists, error.text};
  }
  return Error{error.code, error.text};
}

// As Go names machines.
std::string machine_architecture() {
  utsname name{};
  if (uname(&name) != 0) return "unknown";
  const std::string_view machine = name.machine;
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  return std::string(machine);
}

}  // namespace

SecretStore::Deps Node::make_secret_deps() {
  return {deps_.loop, deps_.random, deps_.log, identity_.xkey(),
          [this](const std::string& key, const std::string& value, uint64_t revision, SecretStore::Written done) {
            plane_->store().put(kSecretsBucket, key, value, revision,
                                [done = std::move(done)](const client::ApiResult<uint64_t>& written) {
                                  done(written ? Status() : status_of(written.error()));
                                });
          },
          [this](const std::string& key, uint64_t revision, SecretStore::Written done) {
            plane_->store().erase(kSecretsBucket, key, revision,
                                  [done = std::move(done)](const client::ApiResult<client::Done>& erased) {
                                    done(erased ? Status() : status_of(erased.error()));
                                  });
          }};
}

void Node::on_stored(std::string_view bucket, const std::string& key, const StoredKey& stored) {
  if (bucket == kSecretsBucket) {
    if (stored.is_gone) return secrets_->on_secret_gone(key);
    return secrets_->on_secret(key, stored.value, stored.revision);
  }
  if (bucket != kNodesBucket) return;
  if (stored.is_gone) return secrets_->on_node_gone(key);
  if (const auto record = decode_node_record(stored.value)) secrets_->on_node(key, record->xkey);
}

void Node::on_secrets(client::ServiceRequest request) {
  auto wanted = decode_secrets_request(request.message().payload);
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  const std::string ns(subject::token_at(request.message().subject, kTrustNamespaceToken));
  const auto pending = std::make_shared<client::ServiceRequest>(std::move(request));
  secrets_->answer(ns, std::move(*wanted), [this, pending](const Result<SecretsReply>& reply) {
    if (reply) return respond(*pending, encode(*reply));
    refuse(*pending, {"secret", reply.error()});
  });
}

Status Node::open_secrets(Deployment& deployment) {
  if (!SecretStore::needs_resolving(deployment.run)) return {};
  auto environment = secrets_->resolve_now(deployment.identity.ns, deployment.run);
  if (!environment) return environment.error();
  deployment.run.environment = std::move(*environment);
  deployment.run.sealed_environment.clear();
  return {};
}

void Node::admit(Deployment planned, const DeployRequest& request, Prepared done) {
  const std::string ns = planned.identity.ns;
  Words issuers;
  const auto& namespaces = plane_->scheduler().namespaces();
  if (const auto found = namespaces.find(ns); found != namespaces.end()) issuers = found->second.issuers;
  // As it came: what was planned has limits the signer did not know.
  const auto run = decode_run_request(request.run_request);
  if (!run) return done(run.error(), "bad-request");
  DeployGuard::KeepToken keep;
  if (plane_->is_ready()) {
    keep = [this](const std::string& key, Callback<void(const Status&)> kept) {
      plane_->store().put(kDeploysBucket, key, id_, 0, [kept = std::move(kept)](const client::ApiResult<uint64_t>& written) {
        kept(written ? Status() : status_of(written.error()));
      });
    };
  }
  guard_->check(ns, issuers, request, *run, deps_.loop.clock().wall_now(), keep,
                [this, planned = std::move(planned), done = std::move(done)](Result<std::string> issuer) mutable {
                  if (!issuer) return done(issuer.error(), "bad-signature");
                  planned.issuer = std::move(*issuer);
                  prepare(std::move(planned), std::move(done));
                });
}

Pairs Node::tags() const {
  Pairs tags = options_.tags;
  const std::pair<std::string_view, std::string> known[] = {
      {"nex.os", "linux"},
      {"nex.arch", machine_architecture()},
      {"nex.cpucount", std::to_string(sysconf(_SC_NPROCESSORS_ONLN))},
      {"nex.lameduck", state_ == State::Lameduck ? "true" : "false"},
      {"nex.nexus", options_.nexus},
      {"nex.node", options_.name}};
  for (const auto& [tag, value] : known) tags.emplace_back(tag, value);
  return tags;
}

bool Node::has_tags(const Pairs& wanted) const {
  const Pairs own = tags();
  return std::all_of(wanted.begin(), wanted.end(),
                     [&](const auto& tag) { return std::find(own.begin(), own.end(), tag) != own.end(); });
}

v1::NodeFacts Node::v1_facts() const {
  v1::NodeFacts facts{id_, options_.nexus, options_.version, format_uptime(deps_.loop.clock().now() - started_),
                      identity_.xkey().public_key(), tags(), factory_->types(), {}};
  facts.tags.emplace_back("node_name", options_.name);  // where its `node ls` looks
  // Those 0.2.7 has only when they are true.
  std::erase_if(facts.tags, [](const auto& tag) { return tag == std::pair<std::string, std::string>("nex.lameduck", "false"); });
  if (options_.sandbox == sandbox::Policy::Off) facts.tags.emplace_back("nex.unsafe", "true");
  for (const auto& [id, workload] : workloads_) {
    if (workload->state() == Workload::State::Live) facts.workloads.push_back(workload->info());
  }
  return facts;
}

Status Node::start_v1() {
  if (!options_.answers_v1) return {};
  NexV1::Options options;
  options.node_id = id_;
  options.issuers = options_.issuers;
  options.is_sandboxed = options_.sandbox != sandbox::Policy::Off;
  options.facts = [this] { return v1_facts(); };
  options.takes_work = [this] { return state_ == State::Running && workloads_.size() < options_.workloads_max; };
  auto v1 = NexV1::start({deps_.loop, deps_.log, *connection_}, std::move(options));
  if (!v1) return v1.error();
  v1_ = std::move(*v1);
  return {};
}

}  // namespace brokkr::workload
