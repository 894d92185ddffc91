#include "workload/gate.h"

#include <array>

#include "base/bytes.h"
#include "workload/gate_connection.h"

namespace brokkr::workload {
namespace {

std::string random_secret() {
  std::array<uint8_t, 12> bytes{};
  fill_secure(bytes);
  return base64url_encode({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

class GateImpl final : public Gate, private io::TurnHook {
 public:
  GateImpl(const Deps& deps, Options options)
      : shared_(deps, std::move(options), random_secret()), sweep_(*this) {
    shared_.question_prefix = "_INBOX." + random_secret() + ".";
    shared_.sweep = [this] { shared_.deps.loop.schedule(sweep_); };
    deps.loop.add_hook(io::Phase::Send, *this);
  }

  ~GateImpl() override {
    connections_.clear();
    control_.reset();
    shared_.deps.loop.remove_hook(*this);
  }

  void accept(int fd) override {
    auto transport = io::adopt_socket(shared_.deps.loop, fd);
    if (!transport) return shared_.deps.log.error("gate: " + transport.error().text);
    connections_.push_back(
        std::make_unique<GateConnection>(shared_, ++next_id_, std::move(*transport)));
    GateConnection& added = *connections_.back();
    if (counters().connections > shared_.options.connections_max) {
      return added.close_later("maximum connections exceeded");
    }
    if (control_ == nullptr) open_control();
    if (is_ready_) added.begin();
  }

  void set_access(std::shared_ptr<const Access> access) override {
    shared_.options.access = std::move(access);
    for (const auto& connection : connections_) connection->on_access_changed();
  }

  Status ask(std::string_view subject, Callback<void()> answered) override {
    shared_.question_reply = shared_.question_prefix + std::to_string(++questions_);
    shared_.question_answered = std::make_shared<Callback<void()>>(std::move(answered));
    for (const auto& connection : connections_) {
      if (connection->ask(subject, shared_.question_reply)) return {};
    }
    shared_.question_reply.clear();
    return Error{Errc::NotFound, "the program does not listen on " + std::string(subject)};
  }

  Counters counters() const override {
    Counters counters = shared_.counters;
    for (const auto& connection : connections_) counters.connections += !connection->is_closed();
    return counters;
  }

 private:
  struct Sweep final : io::Task {
    explicit Sweep(GateImpl& g) : gate(g) {}
    void run() override { gate.sweep(); }
    GateImpl& gate;
  };

  // Programs are told what the server can do, so the first waits until that is known.
  void open_control() {
    client::Options options = copy_options(shared_.options.upstream);
    const Access::Names& names = shared_.access().names();
    options.name = names.ns + "/" + names.workload + " gate";
    client::Events events;
    events.connected = [this] { on_connected(); };
    events.reconnected = [this] { on_connected(); };
    events.closed = [this](const Error& error) {
      shared_.deps.log.error("gate: the connection to the server has ended: " + error.text);
      for (const auto& connection : connections_) connection->close_later();
      is_ready_ = false;
      shared_.control = nullptr;
    };
    auto opened = client::Connection::open(
        {shared_.deps.loop, shared_.deps.resolver, shared_.deps.random}, std::move(options),
        std::move(events));
    if (!opened) {
      shared_.deps.log.error("gate: " + opened.error().text);
      for (const auto& connection : connections_) connection->close_later();
      return;
    }
    control_ = std::move(*opened);
    shared_.control = control_.get();
  }

  void on_connected() {
    shared_.info = control_->server_info();
    is_ready_ = true;
    for (const auto& connection : connections_) {
      if (connection->is_waiting()) connection->begin();
    }
  }

  void sweep() {
    std::erase_if(connections_, [](const std::unique_ptr<GateConnection>& connection) {
      if (!connection->is_closed()) return false;
      connection->flush();  // the reason, as far as it goes
      return true;
    });
    // A closed control connection is replaced when the next program comes.
    if (control_ != nullptr && control_->state() == client::State::Closed) control_.reset();
  }

  bool has_work() const override { return !shared_.dirty.empty(); }
  void on_turn_end() override {
    std::vector<GateConnection*> dirty;
    dirty.swap(shared_.dirty);
    for (GateConnection* connection : dirty) connection->flush();
    dirty.clear();
    if (shared_.dirty.empty()) shared_.dirty.swap(dirty);  // keeps the memory
  }

  GateShared shared_;
  Sweep sweep_;
  std::unique_ptr<client::Connection> control_;
  std::vector<std::unique_ptr<GateConnection>> connections_;
  uint64_t next_id_ = 0;
  uint64_t questions_ = 0;
  bool is_ready_ = false;
};

}  // namespace

std::unique_ptr<Gate> Gate::make(const Deps& deps, Options options) {
  return std::make_unique<GateImpl>(deps, std::move(options));
}

}  // namespace brokkr::workload
