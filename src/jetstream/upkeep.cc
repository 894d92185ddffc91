#include "jetstream/upkeep.h"

#include <algorithm>

namespace brokkr::jetstream {
namespace {

// Times that fall this close together are one call of the timer.
constexpr Duration kGrain = std::chrono::milliseconds(10);
// The wall's clock may be set forward; it is looked at this often.
constexpr Duration kLookEvery = std::chrono::seconds(30);

}  // namespace

UpkeepItem::~UpkeepItem() {
  if (upkeep_ != nullptr) upkeep_->cancel(*this);
}

Upkeep::Upkeep(io::Loop& loop) : loop_(loop), timer_(loop, [this] { run(); }) {}

Upkeep::~Upkeep() {
  for (auto& [at, item] : queue_) item->upkeep_ = nullptr;
}

void Upkeep::call_at(UpkeepItem& item, WallTime at) {
  if (item.upkeep_ != nullptr) {
    if (item.place_->first == at) return;
    queue_.erase(item.place_);
  }
  item.upkeep_ = this;
  item.place_ = queue_.emplace(at, &item);
  if (item.place_ == queue_.begin()) arm();
}

void Upkeep::call_by(UpkeepItem& item, WallTime at) {
  if (item.upkeep_ == nullptr || at < item.place_->first) call_at(item, at);
}

void Upkeep::cancel(UpkeepItem& item) {
  if (item.upkeep_ == nullptr) return;
  queue_.erase(item.place_);
  item.upkeep_ = nullptr;
}

void Upkeep::run() {
  const WallTime now = loop_.clock().wall_now();
  // What is asked for from within a call waits for the next time, however early it is.
  size_t left = queue_.size();
  while (left-- > 0 && !queue_.empty() && queue_.begin()->first <= now) {
    UpkeepItem& item = *queue_.begin()->second;
    queue_.erase(queue_.begin());
    item.upkeep_ = nullptr;
    item.on_due(now);
  }
  arm();
}

void Upkeep::arm() {
  if (queue_.empty()) return timer_.stop();
  const Duration wait = queue_.begin()->first - loop_.clock().wall_now();
  timer_.start(std::clamp<Duration>(wait, kGrain, kLookEvery));
}

}  // namespace brokkr::jetstream
