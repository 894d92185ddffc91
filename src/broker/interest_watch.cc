#include "broker/interest_watch.h"

#include <algorithm>

#include "broker/shard.h"
#include "subject/subject.h"

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
    const bool now = watch.account_.has_interest(watch.subject_);
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
                             Handler handler)
    : account_(account), news_(news), subject_(subject), handler_(std::move(handler)),
      is_interested_(account.has_interest(subject)) {
  account_.watches().add(*this);
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
  if (subject::is_literal(pattern)) {
    const auto [first, last] = watches_.equal_range(pattern);
    for (auto each = first; each != last; ++each) news.add(*each->second);
    return;
  }
  for (const auto& [subject, watch] : watches_) {
    if (subject::matches(pattern, subject)) news.add(*watch);
  }
}

}  // namespace brokkr::broker
