#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/callback.h"
#include "base/log.h"
#include "base/random.h"
#include "client/connection.h"
#include "io/loop.h"
#include "workload/desired_store.h"
#include "workload/scheduler.h"
#include "workload/witness.h"

namespace brokkr::workload {

// What the control plane has done on its node.
class ControlPlaneHost {
 public:
  virtual ~ControlPlaneHost() = default;
  // Starts a copy; its fate is told by the plane's copy_ functions, not from within.
  virtual void start_copy(const std::string& id, uint32_t slot, const DesiredWorkload& workload,
                          const WorkloadRevision& revision) = 0;
  virtual void stop_copy(const std::string& id, bool is_urgent) = 0;
  // The node as it is now, without its incarnation, beat and state.
  virtual NodeRecord describe_node() = 0;
  virtual void on_namespaces(const std::map<std::string, NamespaceRecord>& namespaces) = 0;
  virtual void on_plane_state(DesiredStore::State state) = 0;
  // Of a workload that is about to be gone for good: what its triggers left at the server goes first.
  virtual void remove_triggers(const DesiredWorkload& workload, client::DoneHandler done) = 0;
  // Every key as it changes, before the plane looks at it.
  virtual void on_stored(std::string_view bucket, const std::string& key, const StoredKey&) = 0;
};

// A node's part in the desired state: its beats, its scheduler, and the writes that come of it.
// Loop-confined.
class ControlPlane {
 public:
  struct Deps {
    io::Loop& loop;
    Log& log;
    Random& random;
    client::Connection& connection;
    ControlPlaneHost& host;
  };
  // What a change makes of a workload; `workload` is null when there is none. An error ends it unchanged.
  using Change = std::function<Result<DesiredWorkload>(const DesiredWorkload* workload)>;
  using Changed = Callback<void(const Result<DesiredWorkload>&)>;
  // Called with every change until it says that it has seen enough.
  using Waiter = std::function<bool(const RolloutStatus*, bool is_late)>;

  ControlPlane(const Deps&, std::string node_id);
  ~ControlPlane();
  ControlPlane(const ControlPlane&) = delete;
  ControlPlane& operator=(const ControlPlane&) = delete;

  // The connection is up.
  void open();
  bool is_ready() const { return store_.state() == DesiredStore::State::Ready; }
  bool is_probing() const { return store_.state() == DesiredStore::State::Probing; }
  const Scheduler& scheduler() const { return scheduler_; }
  // A process that was stopped for a while may have lost its leases: to be asked before answering for
  // what runs here.
  void look();
  DesiredStore& store() { return store_; }
  uint64_t incarnation() const { return self_.incarnation; }

  void set_draining(bool is_draining);
  // What nobody has taken by now stops.
  void release_all();
  // Takes and gives up nothing more; leases stay until the node is back or lost.
  void halt();
  // Tells the others that nothing runs here any more, so that they need not wait.
  void say_goodbye(Callback<void()> done);

  // Reads, changes, writes; again when somebody else was quicker. Once done, what is seen here includes
  // the change.
  void change(const std::string& ns, const std::string& name, Change change, Changed done);
  // `change` tells whether there is anything to write.
  void change_slot(const std::string& key, std::function<bool(SlotLease&)> change,
                   client::DoneHandler done);

  // Namespaces change by compare-and-set: `revision` is the one the change was made of, 0 that there is
  // no record. Without one a record can only be made, or set to what it is. Fails with AlreadyExists
  // when another one is there, and NotFound.
  using Revision = std::optional<uint64_t>;
  void put_namespace(const NamespaceRecord&, Revision revision, client::DoneHandler done);
  void remove_namespace(const std::string& ns, Revision revision, client::DoneHandler done);
  // Has the record as it is at the server.
  void read_namespace(const std::string& ns, client::DoneHandler done);
  uint64_t namespace_revision(const std::string& ns) const;  // 0: none is known

  // A copy that runs already becomes replica 0 of a new revision: its lease and the workload are written
  // at once, and `done` is called when both are durable. Gives the workload and the copy it replaces here
  // or elsewhere, if any.
  struct Adopted {
    DesiredWorkload workload;
    std::string replaced_id;
  };
  void adopt(const std::string& ns, const std::string& name, const std::string& copy_id, Change change,
             Callback<void(const Result<Adopted>&)> done);

  // Calls `waiter` about a workload now and with every change, until it returns true or `wait` is over.
  void await(const std::string& ns, const std::string& name, Duration wait, Waiter waiter);

  // What became of copies.
  void copy_live(const std::string& id);
  void copy_failed(const std::string& id, const std::string& error, bool is_final);
  void copy_health(const std::string& id, bool is_healthy);
  void copy_ended(const std::string& id, int exit_code, const std::string& error,
                  const std::string& result);
  void copy_stopped(const std::string& id);

 private:
  struct Waiting {
    std::string ns;
    std::string name;
    MonotonicTime until{};
    Waiter waiter;
  };
  struct Adoption;
  class Turn final : public io::Task {
   public:
    explicit Turn(ControlPlane& plane) : plane_(plane) {}
    void run() override { plane_.run_turn(); }

   private:
    ControlPlane& plane_;
  };

  MonotonicTime now() const { return deps_.loop.clock().now(); }
  void kick();
  void run_turn();
  void on_state(DesiredStore::State state);
  void on_key(std::string_view bucket, const std::string& key, const StoredKey& stored);
  void act(const Scheduler::Action& action);
  void delete_workload(const Scheduler::Action& action);
  void take_namespace(const std::string& ns, const StoredKey& stored);
  void write_namespace(const NamespaceRecord& record, uint64_t revision, client::DoneHandler done);
  void write_slot(const Scheduler::Action& action);
  void finish_write(const std::string& key, const client::ApiResult<uint64_t>& written);
  void beat();
  void check_waiters();
  // What a change starts from, absent when there is none: what is stored, or what is known here when that
  // cannot be read or has gone without being deleted.
  Result<std::optional<DesiredWorkload>> changed_from(const std::string& key, const StoredKey&) const;
  void try_change(const std::string& ns, const std::string& name, Change change, Changed done,
                  int attempts);
  void try_change_slot(const std::string& key, std::function<bool(SlotLease&)> change,
                       client::DoneHandler done, int attempts);
  void read_adoption(const std::shared_ptr<Adoption>& adoption);
  void write_adoption(const std::shared_ptr<Adoption>& adoption);
  void on_adoption_written(const std::shared_ptr<Adoption>& adoption,
                           const client::ApiResult<uint64_t>& written);
  void finish_adoption(const std::shared_ptr<Adoption>& adoption, const Status& status);

  const Deps deps_;
  const Scheduler::Self self_;
  Scheduler scheduler_;
  DesiredStore store_;
  Witness witness_;
  std::string state_ = "running";
  uint64_t beats_ = 0;
  bool is_halted_ = false;
  std::vector<Waiting> waiting_;
  std::map<std::string, StoredKey> namespaces_;  // as last heard
  std::set<std::string> deleting_;               // keys of workloads
  Turn turn_{*this};
  io::Timer tick_;
  io::Timer beat_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace brokkr::workload
