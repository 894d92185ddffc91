#include "workload/control_plane.h"

#include <algorithm>

namespace brokkr::workload {
namespace {

constexpr Duration kIdleTick = std::chrono::milliseconds(250);
constexpr Duration kBusyTick = std::chrono::milliseconds(50);
constexpr Duration kGoodbyeTimeout = std::chrono::milliseconds(700);
constexpr int kChangeAttempts = 8;
constexpr Duration kLateAfter = std::chrono::seconds(2);

uint64_t incarnation_at(WallTime now) {
  return static_cast<uint64_t>(now.time_since_epoch().count());
}

bool is_conflict(const client::ApiError& error) {
  return error.code == Errc::AlreadyExists || error.err_code == client::kWrongLastSequenceError ||
         error.err_code == client::kWrongLastSequenceConstantError;
}

// `at`: where it is now, 0 when that is not known or there is none.
Error namespace_conflict(const std::string& ns, uint64_t at, uint64_t wanted) {
  std::string text = "namespace " + ns;
  if (wanted == 0 && at != 0) return {Errc::AlreadyExists, text + " has a record, revision " + std::to_string(at)};
  text += " was changed meanwhile: it is ";
  text += at == 0 ? "not" : "at revision " + std::to_string(at) + ", not";
  return {Errc::AlreadyExists, text + " at revision " + std::to_string(wanted)};
}

// A record under another's key would be started under one name and changed under the other.
Result<DesiredWorkload> decode_stored_workload(const std::string& key, std::string_view value) {
  auto workload = decode_desired_workload(value);
  if (!workload) return workload;
  const std::string own = workload_key(workload->ns, workload->name);
  if (own != key) return Error{Errc::InvalidArgument, "it says that it is " + own};
  return workload;
}

}  // namespace

ControlPlane::ControlPlane(const Deps& deps, std::string node_id)
    : deps_(deps), self_{std::move(node_id), incarnation_at(deps.loop.clock().wall_now())},
      scheduler_(self_, deps.random),
      store_(deps.loop, deps.log, deps.connection,
             {[this](std::string_view bucket, const std::string& key, const StoredKey& stored) {
                on_key(bucket, key, stored);
              },
              [this](DesiredStore::State state) { on_state(state); },
              [this] {
                scheduler_.on_replaced();
                for (auto& [ns, known] : namespaces_) known.revision = 0;
              }}),
      witness_(deps.connection, self_.node,
               {[this] { return scheduler_.is_blind(now()); },
                [this](const std::string& node, bool is_blind, MonotonicTime asked_at) {
                  scheduler_.on_witness(node, is_blind, asked_at);
                }}),
      tick_(deps.loop, [this] { run_turn(); }), beat_(deps.loop, [this] { beat(); }) {}

ControlPlane::~ControlPlane() { *alive_ = false; }

void ControlPlane::open() {
  if (const Status opened = witness_.open(); !opened) {
    deps_.log.warn("workload: other nodes cannot ask this one: " + opened.error().text);
  }
  store_.open();
}

void ControlPlane::look() {
  if (is_ready() && now() - scheduler_.last_step() > kLateAfter) run_turn();
}

void ControlPlane::kick() {
  if (is_ready()) deps_.loop.schedule(turn_);
}

void ControlPlane::on_state(DesiredStore::State state) {
  if (state == DesiredStore::State::Ready) {
    scheduler_.on_beat(now());
    scheduler_.on_synced(now());
    beat();
    kick();
  }
  deps_.host.on_plane_state(state);
}

void ControlPlane::on_key(std::string_view bucket, const std::string& key, const StoredKey& stored) {
  deps_.host.on_stored(bucket, key, stored);
  const auto complain = [&](const Error& error) {
    deps_.log.warn("workload: " + std::string(bucket) + " " + key + ": " + error.text);
  };
  if (bucket == kWorkloadsBucket) {
    if (stored.is_gone) {
      scheduler_.on_workload_gone(key, stored.revision);
    } else if (auto workload = decode_stored_workload(key, stored.value); workload) {
      scheduler_.on_workload(key, std::move(*workload), stored.revision);
    } else {
      complain(workload.error());
    }
  } else if (bucket == kSlotsBucket) {
    if (stored.is_gone) {
      scheduler_.on_slot_gone(key, stored.revision);
    } else if (auto lease = decode_slot_lease(stored.value); lease) {
      scheduler_.on_slot(key, std::move(*lease), stored.revision);
    } else {
      complain(lease.error());
      scheduler_.on_slot_damaged(key, stored.revision);
    }
  } else if (bucket == kNodesBucket) {
    if (stored.is_gone) return;
    auto record = decode_node_record(stored.value);
    if (!record) {
      complain(record.error());
    } else if (record->node != key) {
      complain({Errc::InvalidArgument, "it says that it is of node " + record->node});
    } else {
      scheduler_.on_node(std::move(*record), now());
    }
  } else if (bucket == kNamespacesBucket) {
    take_namespace(key, stored);
  }
  kick();
}

void ControlPlane::run_turn() {
  if (is_halted_) return;
  const bool was_fenced = scheduler_.is_fenced();
  for (const Scheduler::Action& action : scheduler_.step(now())) act(action);
  if (scheduler_.needs_witnesses(now())) witness_.ask(now());
  if (scheduler_.is_fenced() != was_fenced) {
    deps_.log.warn(was_fenced ? "workload: the desired state can be reached again"
                              : "workload: the desired state cannot be reached: what it gave this node stops");
  }
  check_waiters();
  if (scheduler_.is_synced()) tick_.start(scheduler_.is_waiting() ? kBusyTick : kIdleTick);
}

void ControlPlane::act(const Scheduler::Action& action) {
  using Kind = Scheduler::Action::Kind;
  switch (action.kind) {
    case Kind::PutSlot:
    case Kind::DeleteSlot: return write_slot(action);
    case Kind::Start:
      return deps_.host.start_copy(action.id, action.slot, action.workload, action.run);
    case Kind::Stop: return deps_.host.stop_copy(action.id, action.is_urgent);
    case Kind::DeleteWorkload: return delete_workload(action);
  }
}

// What its triggers left goes while nothing of it runs and nobody has been told that it is gone.
void ControlPlane::delete_workload(const Scheduler::Action& action) {
  if (!deleting_.insert(action.key).second) return;
  deps_.host.remove_triggers(action.workload, [this, action, alive = alive_](const Status& removed) {
    if (!*alive) return;
    if (!removed) {
      deps_.log.warn("workload: " + action.key + ": a consumer of its triggers may be left: " +
                     removed.error().text);
    }
    store_.erase(kWorkloadsBucket, action.key, action.revision,
                 [this, key = action.key, ns = action.workload.ns, digests = action.digests,
                  alive](client::ApiStatus erased) {
                   if (!*alive) return;
                   deleting_.erase(key);
                   if (!erased) return;
                   scheduler_.on_workload_gone(key, UINT64_MAX);
                   for (const std::string& digest : digests) {
                     if (!scheduler_.is_digest_used(ns, digest)) store_.remove_artifact(ns, digest);
                   }
                   kick();
                 });
  });
}

void ControlPlane::write_slot(const Scheduler::Action& action) {
  const std::string& key = action.key;
  if (action.kind == Scheduler::Action::Kind::DeleteSlot) {
    return store_.erase(kSlotsBucket, key, action.revision,
                        [this, key, alive = alive_](client::ApiStatus erased) {
                          if (!*alive) return;
                          finish_write(key, erased ? client::ApiResult<uint64_t>(uint64_t{0})
                                                   : client::ApiResult<uint64_t>(erased.error()));
                        });
  }
  SlotLease lease = action.lease;
  if (lease.since.empty()) lease.since = format_rfc3339(deps_.loop.clock().wall_now());
  store_.put(kSlotsBucket, key, encode(lease), action.revision,
             [this, key, lease, alive = alive_](client::ApiResult<uint64_t> written) {
               if (!*alive) return;
               if (written) scheduler_.on_slot(key, lease, *written);
               finish_write(key, written);
             });
}

void ControlPlane::finish_write(const std::string& key,
                                const client::ApiResult<uint64_t>& written) {
  if (written) {
    scheduler_.on_written(key, true, *written);
    return kick();
  }
  // Refused, or nobody knows: what is there now says.
  store_.read_surely(kSlotsBucket, key, [this, key, alive = alive_](const StoredKey& stored) {
    if (!*alive) return;
    const bool was_deleted = stored.is_gone && stored.revision != 0;
    if (stored.is_gone && !was_deleted) {
      scheduler_.on_slot_damaged(key, 0);
    } else {
      on_key(kSlotsBucket, key, stored);
    }
    scheduler_.on_written(key, false, 0);
    kick();
  });
}

void ControlPlane::beat() {
  if (is_halted_) return;
  beat_.start(kBeatEvery);
  if (!is_ready()) return;
  NodeRecord record = deps_.host.describe_node();
  record.incarnation = self_.incarnation;
  record.beat = ++beats_;
  record.state = state_;
  const MonotonicTime sent = now();
  store_.put_always(kNodesBucket, self_.node, encode(record),
                    [this, sent, alive = alive_](client::ApiResult<uint64_t> written) {
                      if (!*alive || !written) return;
                      scheduler_.on_beat(sent);
                    });
}

void ControlPlane::set_draining(bool is_draining) {
  state_ = is_draining ? "draining" : "running";
  scheduler_.set_state(state_);
  if (!is_draining) scheduler_.cancel_release();
  beat();
  kick();
}

void ControlPlane::release_all() {
  scheduler_.release_all();
  kick();
}

void ControlPlane::halt() {
  is_halted_ = true;
  tick_.stop();
  beat_.stop();
  waiting_.clear();
}

void ControlPlane::say_goodbye(Callback<void()> done) {
  if (!is_ready()) return done();
  NodeRecord record = deps_.host.describe_node();
  record.incarnation = self_.incarnation;
  record.beat = ++beats_;
  record.state = "stopped";
  store_.put_always(kNodesBucket, self_.node, encode(record), [](client::ApiResult<uint64_t>) {});
  deps_.connection.flush(kGoodbyeTimeout, [done = std::move(done)](const Status&) { done(); });
}

Result<std::optional<DesiredWorkload>> ControlPlane::changed_from(const std::string& key,
                                                                  const StoredKey& stored) const {
  const bool was_deleted = stored.is_gone && stored.revision != 0;
  if (was_deleted) return std::optional<DesiredWorkload>();
  const auto known = scheduler_.workloads().find(key);
  if (!stored.is_gone) {
    auto workload = decode_stored_workload(key, stored.value);
    if (workload) return std::optional(std::move(*workload));
    if (known == scheduler_.workloads().end()) {
      return Error{Errc::Corrupt, "what is stored of it cannot be read, delete or mend key " + key + " of bucket " +
                                      std::string(kWorkloadsBucket) + ": " + workload.error().text};
    }
  }
  if (known == scheduler_.workloads().end()) return std::optional<DesiredWorkload>();
  return std::optional(known->second.workload);
}

void ControlPlane::change(const std::string& ns, const std::string& name, Change change,
                          Changed done) {
  try_change(ns, name, std::move(change), std::move(done), kChangeAttempts);
}

void ControlPlane::try_change(const std::string& ns, const std::string& name, Change change,
                              Changed done, int attempts) {
  const std::string key = workload_key(ns, name);
  store_.read(kWorkloadsBucket, key, [=, this, alive = alive_, change = std::move(change),
                                      done = std::move(done)](
                                         client::ApiResult<StoredKey> stored) mutable {
    if (!*alive) return;
    if (!stored) return done(Error{Errc::Unavailable, stored.error().text});
    Result<std::optional<DesiredWorkload>> old = changed_from(key, *stored);
    if (!old) return done(old.error());
    Result<DesiredWorkload> wanted = change(*old ? &**old : nullptr);
    if (!wanted) return done(wanted.error());
    store_.put(kWorkloadsBucket, key, encode(*wanted), stored->is_gone ? 0 : stored->revision,
               [=, this, workload = *wanted, change = std::move(change),
                done = std::move(done)](client::ApiResult<uint64_t> written) mutable {
                 if (!*alive) return;
                 if (written) {
                   scheduler_.on_workload(key, workload, *written);
                   kick();
                   return done(std::move(workload));
                 }
                 if (!is_conflict(written.error()) || attempts <= 1) {
                   return done(Error{Errc::Unavailable, written.error().text});
                 }
                 try_change(ns, name, std::move(change), std::move(done), attempts - 1);
               });
  });
}

void ControlPlane::change_slot(const std::string& key, std::function<bool(SlotLease&)> change,
                               client::DoneHandler done) {
  try_change_slot(key, std::move(change), std::move(done), kChangeAttempts);
}

void ControlPlane::try_change_slot(const std::string& key, std::function<bool(SlotLease&)> change,
                                   client::DoneHandler done, int attempts) {
  store_.read(kSlotsBucket, key, [=, this, alive = alive_, change = std::move(change),
                                  done = std::move(done)](client::ApiResult<StoredKey> stored) mutable {
    if (!*alive) return;
    if (!stored) return done(stored.error());
    auto lease = decode_slot_lease(stored->value);
    if (stored->is_gone || !lease || !change(*lease)) return done({});
    const std::string record = encode(*lease);
    store_.put(kSlotsBucket, key, record, stored->revision,
               [=, this, lease = std::move(*lease), change = std::move(change),
                done = std::move(done)](client::ApiResult<uint64_t> written) mutable {
                 if (!*alive) return;
                 if (written) {
                   scheduler_.on_slot(key, std::move(lease), *written);
                   kick();
                   return done({});
                 }
                 if (!is_conflict(written.error()) || attempts <= 1) return done(written.error());
                 try_change_slot(key, std::move(change), std::move(done), attempts - 1);
               });
  });
}

// Answers of writes and the watch come in any order.
void ControlPlane::take_namespace(const std::string& ns, const StoredKey& stored) {
  StoredKey& known = namespaces_[ns];
  if (stored.revision < known.revision) return;
  known = stored;
  if (stored.is_gone) {
    scheduler_.on_namespace_gone(ns);
  } else if (auto record = decode_namespace_record(stored.value); record) {
    record->ns = ns;
    scheduler_.on_namespace(std::move(*record));
  } else {
    deps_.log.warn("workload: namespace " + ns + ": " + record.error().text);
  }
  deps_.host.on_namespaces(scheduler_.namespaces());
  kick();
}

uint64_t ControlPlane::namespace_revision(const std::string& ns) const {
  const auto found = namespaces_.find(ns);
  return found == namespaces_.end() || found->second.is_gone ? 0 : found->second.revision;
}

void ControlPlane::read_namespace(const std::string& ns, client::DoneHandler done) {
  store_.read(kNamespacesBucket, ns, [this, ns, alive = alive_, done = std::move(done)](
                                         client::ApiResult<StoredKey> stored) {
    if (!*alive) return;
    if (!stored) return done(Error{Errc::Unavailable, stored.error().text});
    if (stored->revision != 0) take_namespace(ns, *stored);
    done({});
  });
}

void ControlPlane::put_namespace(const NamespaceRecord& record, Revision revision,
                                 client::DoneHandler done) {
  read_namespace(record.ns, [this, record, revision, done = std::move(done)](const Status& read) mutable {
    if (!read) return done(read);
    const uint64_t at = namespace_revision(record.ns);
    if (!revision && at != 0) {
      const bool is_same = encode(scheduler_.namespaces().at(record.ns)) == encode(record);
      if (is_same) return done({});
    }
    if (revision.value_or(0) != at) return done(namespace_conflict(record.ns, at, revision.value_or(0)));
    write_namespace(record, at, std::move(done));
  });
}

void ControlPlane::write_namespace(const NamespaceRecord& record, uint64_t revision,
                                   client::DoneHandler done) {
  const std::string value = encode(record);
  store_.put(kNamespacesBucket, record.ns, value, revision,
             [this, ns = record.ns, value, revision, alive = alive_,
              done = std::move(done)](client::ApiResult<uint64_t> written) {
               if (!*alive) return;
               if (!written && is_conflict(written.error())) return done(namespace_conflict(ns, 0, revision));
               if (!written) return done(Error{Errc::Unavailable, written.error().text});
               take_namespace(ns, {value, *written, false});
               done({});
             });
}

void ControlPlane::remove_namespace(const std::string& ns, Revision revision, client::DoneHandler done) {
  read_namespace(ns, [this, ns, revision, done = std::move(done)](const Status& read) mutable {
    if (!read) return done(read);
    const uint64_t at = namespace_revision(ns);
    if (at == 0) return done(Error{Errc::NotFound, "there is no namespace " + ns});
    if (revision && *revision != at) return done(namespace_conflict(ns, at, *revision));
    store_.erase(kNamespacesBucket, ns, at, [this, ns, at, alive = alive_,
                                             done = std::move(done)](client::ApiStatus erased) {
      if (!*alive) return;
      if (!erased && is_conflict(erased.error())) return done(namespace_conflict(ns, 0, at));
      if (!erased) return done(Error{Errc::Unavailable, erased.error().text});
      take_namespace(ns, {"", at, true});
      done({});
    });
  });
}

void ControlPlane::await(const std::string& ns, const std::string& name, Duration wait,
                         Waiter waiter) {
  waiting_.push_back({ns, name, now() + wait, std::move(waiter)});
  kick();
}

void ControlPlane::check_waiters() {
  // A waiter may add another.
  std::vector<Waiting> waiting = std::move(waiting_);
  waiting_.clear();
  const MonotonicTime time = now();
  for (Waiting& one : waiting) {
    const auto* view = scheduler_.find(one.ns, one.name);
    std::optional<RolloutStatus> status;
    if (view != nullptr) status = scheduler_.status(*view, time);
    if (!one.waiter(status ? &*status : nullptr, time >= one.until)) {
      waiting_.push_back(std::move(one));
    }
  }
}

void ControlPlane::copy_live(const std::string& id) {
  scheduler_.on_live(id, now());
  kick();
}

void ControlPlane::copy_failed(const std::string& id, const std::string& error, bool is_final) {
  scheduler_.on_start_failed(id, error, is_final, now());
  kick();
}

void ControlPlane::copy_health(const std::string& id, bool is_healthy) {
  scheduler_.on_health(id, is_healthy);
  kick();
}

void ControlPlane::copy_ended(const std::string& id, int exit_code, const std::string& error,
                              const std::string& result) {
  scheduler_.on_ended(id, exit_code, error, result);
  kick();
}

void ControlPlane::copy_stopped(const std::string& id) {
  scheduler_.on_stopped(id);
  kick();
}

// ---- Adoption: a copy that runs already becomes replica 0. ----

struct ControlPlane::Adoption {
  std::string key;
  std::string slot_key;
  std::string copy_id;
  Change change;
  Callback<void(const Result<Adopted>&)> done;
  // What the writes follow.
  bool has_old_workload = false;
  DesiredWorkload old_workload;
  uint64_t old_revision = 0;
  uint64_t old_slot_revision = 0;

  DesiredWorkload workload;
  SlotLease lease;
  uint64_t slot_revision = 0;
  std::string replaced_id;
  bool is_workload_written = false;
  int under_way = 0;
  bool has_conflict = false;
  Status failure;
  int attempts = kChangeAttempts;

  void follow_slot(const SlotLease& before, uint64_t revision) {
    old_slot_revision = revision;
    if (before.workload_id != copy_id) replaced_id = before.workload_id;
  }
};

void ControlPlane::adopt(const std::string& ns, const std::string& name, const std::string& copy_id,
                         Change change, Callback<void(const Result<Adopted>&)> done) {
  auto adoption = std::make_shared<Adoption>();
  adoption->key = workload_key(ns, name);
  adoption->slot_key = slot_key(ns, name, 0);
  adoption->copy_id = copy_id;
  adoption->change = std::move(change);
  adoption->done = std::move(done);
  scheduler_.hold(adoption->slot_key);
  // What is known here is mostly what is stored; a write that follows anything else is refused.
  const auto known = scheduler_.workloads().find(adoption->key);
  if (known != scheduler_.workloads().end()) {
    adoption->has_old_workload = true;
    adoption->old_workload = known->second.workload;
    adoption->old_revision = known->second.revision;
  }
  const auto* slot = scheduler_.find_slot(adoption->key, 0);
  if (slot != nullptr && !slot->is_gone) adoption->follow_slot(slot->lease, slot->revision);
  write_adoption(adoption);
}

void ControlPlane::finish_adoption(const std::shared_ptr<Adoption>& adoption, const Status& status) {
  if (status) {
    scheduler_.adopt(adoption->slot_key, adoption->lease, adoption->slot_revision);
  }
  scheduler_.unhold(adoption->slot_key);
  // Its predecessor takes nothing more by the time this is told.
  run_turn();
  if (!status) return adoption->done(status.error());
  adoption->done(Adopted{adoption->workload, adoption->replaced_id});
}

// Somebody else was quicker, or what was known here was not the newest.
void ControlPlane::read_adoption(const std::shared_ptr<Adoption>& adoption) {
  if (--adoption->attempts <= 0) {
    return finish_adoption(adoption, Error{Errc::Unavailable, "others change the same workload"});
  }
  store_.read(kWorkloadsBucket, adoption->key, [=, this, alive = alive_](client::ApiResult<StoredKey> old) {
    if (!*alive) return;
    if (!old) return finish_adoption(adoption, old.error());
    adoption->old_revision = old->is_gone ? 0 : old->revision;
    Result<std::optional<DesiredWorkload>> follows = changed_from(adoption->key, *old);
    if (!follows) return finish_adoption(adoption, follows.error());
    adoption->has_old_workload = follows->has_value();
    if (*follows) adoption->old_workload = std::move(**follows);
    store_.read(kSlotsBucket, adoption->slot_key, [=, this](client::ApiResult<StoredKey> slot) {
      if (!*alive) return;
      if (!slot) return finish_adoption(adoption, slot.error());
      adoption->old_slot_revision = 0;
      if (!slot->is_gone) {
        const auto before = decode_slot_lease(slot->value);
        adoption->follow_slot(before ? *before : SlotLease{}, slot->revision);
      }
      write_adoption(adoption);
    });
  });
}

// Both are sent at once and become durable together. The lease goes first: on one server, who sees the
// workload sees the lease. Where two servers lead the buckets, a node that sees the workload alone may
// take the lease and loses it again by the next attempt.
void ControlPlane::write_adoption(const std::shared_ptr<Adoption>& adoption) {
  if (!adoption->is_workload_written) {
    Result<DesiredWorkload> wanted =
        adoption->change(adoption->has_old_workload ? &adoption->old_workload : nullptr);
    if (!wanted) return finish_adoption(adoption, wanted.error());
    adoption->workload = std::move(*wanted);
  }
  SlotLease& lease = adoption->lease;
  lease = {};
  lease.node = self_.node;
  lease.incarnation = self_.incarnation;
  lease.workload_id = adoption->copy_id;
  lease.generation = adoption->workload.current.generation;
  lease.state = "running";
  lease.since = format_rfc3339(deps_.loop.clock().wall_now());
  const bool writes_workload = !adoption->is_workload_written;
  adoption->under_way = writes_workload ? 2 : 1;
  adoption->has_conflict = false;
  store_.put(kSlotsBucket, adoption->slot_key, encode(lease), adoption->old_slot_revision,
             [=, this, alive = alive_](client::ApiResult<uint64_t> written) {
               if (!*alive) return;
               if (written) adoption->slot_revision = *written;
               on_adoption_written(adoption, written);
             });
  if (!writes_workload) return;
  store_.put(kWorkloadsBucket, adoption->key, encode(adoption->workload), adoption->old_revision,
             [=, this, alive = alive_](client::ApiResult<uint64_t> written) {
               if (!*alive) return;
               if (written) {
                 adoption->is_workload_written = true;
                 scheduler_.on_workload(adoption->key, adoption->workload, *written);
               }
               on_adoption_written(adoption, written);
             });
}

void ControlPlane::on_adoption_written(const std::shared_ptr<Adoption>& adoption,
                                       const client::ApiResult<uint64_t>& written) {
  if (!written && is_conflict(written.error())) {
    adoption->has_conflict = true;
  } else if (!written) {
    adoption->failure = written.error();
  }
  if (--adoption->under_way > 0) return;
  if (adoption->failure && adoption->has_conflict) return read_adoption(adoption);
  finish_adoption(adoption, adoption->failure);
}

}  // namespace brokkr::workload
