// Whom a node trusts with what: signed deploys, secrets, and the requests of Nex 0.2.7.
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

Status Node::start_v1() {
  if (!options_.answers_v1) return {};
  NexV1::Options options;
  options.node_id = id_;
  options.xkey = identity_.xkey().public_key();
  options.nexus = options_.nexus;
  options.version = options_.version;
  options.tags = options_.tags;
  options.issuers = options_.issuers;
  options.is_sandboxed = options_.sandbox != sandbox::Policy::Off;
  options.types = [this] { return factory_->types(); };
  options.workloads = [this] {
    std::vector<WorkloadInfo> all;
    for (const auto& [id, workload] : workloads_) {
      if (workload->state() == Workload::State::Live) all.push_back(workload->info());
    }
    return all;
  };
  auto v1 = NexV1::start({deps_.loop, deps_.log, *connection_}, std::move(options));
  if (!v1) return v1.error();
  v1_ = std::move(*v1);
  return {};
}

}  // namespace brokkr::workload
