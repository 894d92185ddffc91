#include "broker/interest_watch.h"

#include <algorithm>

#include "broker/shard.h"

namespace brokkr::broker {

void InterestNews::add(InterestWatch& watch) {
  if (watch.is_queued_) return;
  watch.is_queued_ = true;
  news_.push_back(&watch);
  loop_.schedule(*this);
}

void InterestNews::remove(InterestWatch& watch) {
  if (watch.is_queued_) std::erase(news_, &watch);
  if (running_ == &watch) running_ = nullptr;
}

// A handler may add and end watches.
void InterestNews::run() {
  for (size_t left = news_.size(); left > 0 && !news_.empty(); --left) {
    InterestWatch& watch = *news_.back();
    news_.pop_back();
    watch.is_queued_ = false;
    const bool now = watch.look();
    if (now == watch.is_interested_) continue;
    watch.is_interested_ = now;
    // The handler goes on living when it destroys its watch.
    InterestWatch::Handler handler = std::move(watch.handler_);
    running_ = &watch;
    handler(now);
    if (running_ != nullptr) watch.handler_ = std::move(handler);
    running_ = nullptr;
  }
  if (!news_.empty()) loop_.schedule(*this);
}

InterestWatch::InterestWatch(Account& account, InterestNews& news, std::string_view subject,
                             std::string_view queue, Handler handler)
    : account_(account), news_(news), subject_(subject), queue_(queue),
      handler_(std::move(handler)), is_interested_(look()) {
  account_.watches().add(*this);
}

bool InterestWatch::look() const {
  const subject::Interest* const interest = account_.interest().find(subject_);
  if (interest == nullptr) return false;
  if (queue_.empty()) return !interest->subscribers().empty();
  const subject::QueueGroup* group = interest->first_group();
  while (group != nullptr && group->name() != queue_) group = group->next();
  return group != nullptr;
}

InterestWatch::~InterestWatch() {
  account_.watches().remove(*this);
  news_.remove(*this);
}

void InterestWatches::remove(InterestWatch& watch) {
  const auto [first, last] = watches_.equal_range(watch.subject());
  watches_.erase(std::find_if(first, last, [&](const auto& each) { return each.second == &watch; }));
}

void InterestWatches::mark(std::string_view pattern, InterestNews& news) {
  const auto [first, last] = watches_.equal_range(pattern);
  for (auto each = first; each != last; ++each) news.add(*each->second);
}

}  // namespace brokkr::broker
