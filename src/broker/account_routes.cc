#include "broker/account_routes.h"

#include <algorithm>

#include "broker/account.h"
#include "broker/shard.h"
#include "subject/subject.h"

namespace brokkr::broker {
namespace {

std::vector<std::string_view> tokens_of(std::string_view subject) {
  std::vector<std::string_view> out;
  for (const std::string_view token : subject::Tokens(subject)) out.push_back(token);
  return out;
}

// The subjects both patterns match, as one pattern. Both collide.
std::string intersection(std::string_view a, std::string_view b) {
  const auto left = tokens_of(a);
  const auto right = tokens_of(b);
  std::string out;
  const auto add = [&out](std::string_view token) {
    if (!out.empty()) out += '.';
    out += token;
  };
  for (size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
    if (i >= left.size() || left[i] == ">") {
      for (; i < right.size(); ++i) add(right[i]);
      break;
    }
    if (i >= right.size() || right[i] == ">") {
      for (; i < left.size(); ++i) add(left[i]);
      break;
    }
    add(left[i] == "*" ? right[i] : left[i]);
  }
  return out;
}

// "$3" -> 3; 0 for any other token.
size_t reference_number(std::string_view token) {
  if (token.size() < 2 || token[0] != '$') return 0;
  size_t number = 0;
  for (const char c : token.substr(1)) {
    if (c < '0' || c > '9' || number > 1000) return 0;
    number = number * 10 + static_cast<size_t>(c - '0');
  }
  return number;
}

}  // namespace

// --- subjects --------------------------------------------------------------------------------

SubjectRule::SubjectRule(std::string_view source, std::string_view destination)
    : source_(source) {
  if (auth::number_wildcards(source) == destination || source == destination) {
    is_same_ = true;
    return;
  }
  auto made = subject::Transform::make(source, destination);
  if (made) {
    transform_ = std::move(*made);
  } else if (subject::is_valid_literal(destination)) {
    fixed_ = destination;
  }
}

std::string SubjectRule::apply(std::string_view subject) const {
  if (transform_) return transform_->apply(subject);
  if (!subject::matches(source_, subject)) return {};
  return is_same_ ? std::string(subject) : fixed_;
}

ServiceRoute::ServiceRoute(Account& from, Account& to, auth::ServiceImportRule what)
    : importer(from), exporter(to), rule(std::move(what)), subject(rule.local, rule.destination) {
  subscription.kind = Subscription::Kind::Service;
  subscription.service = this;
}

StreamRoute::StreamRoute(Account& from, auth::StreamImportRule what)
    : exporter(from), rule(std::move(what)), subject(rule.subject, rule.destination) {}

std::string StreamRoute::exported_for(std::string_view pattern) const {
  if (!subject::collide(pattern, rule.local)) return {};
  const std::string wanted = intersection(pattern, rule.local);
  if (subject.is_same()) return wanted;
  // What stands in the place of each wildcard of the exporter's subject; a destination that computes
  // something tells nothing, then all of the stream is asked for.
  const auto made = tokens_of(rule.destination);
  const auto asked = tokens_of(wanted);
  std::vector<std::string_view> values;
  std::string rest;
  for (size_t i = 0; i < made.size(); ++i) {
    if (made[i] == ">") {
      for (size_t k = i; k < asked.size(); ++k) {
        if (!rest.empty()) rest += '.';
        rest += asked[k];
      }
      break;
    }
    const size_t number = reference_number(made[i]);
    if (number == 0 || i >= asked.size()) continue;
    if (values.size() < number) values.resize(number, "*");
    values[number - 1] = asked[i];
  }
  std::string out;
  size_t wildcard = 0;
  for (const std::string_view token : subject::Tokens(rule.subject)) {
    if (!out.empty()) out += '.';
    if (token == ">") {
      out += rest.empty() ? ">" : rest;
    } else if (token == "*") {
      out += wildcard < values.size() && values[wildcard] != ">" ? values[wildcard] : "*";
      ++wildcard;
    } else {
      out += token;
    }
  }
  return out;
}

// --- an account's routes ---------------------------------------------------------------------

AccountRoutes::AccountRoutes(Shard& shard, Account& account,
                             std::shared_ptr<const auth::AccountRules> rules)
    : shard_(shard), account_(account) {
  for (const config::SubjectMapping& mapping : rules->settings.mappings) add_mapping(mapping);
  for (const auth::StreamImportRule& rule : rules->stream_imports) {
    auto made = std::make_unique<StreamRoute>(shard_.account(rule.exporter), rule);
    if (made->subject.is_usable()) streams_.push_back(std::move(made));
  }
  for (const auth::ServiceImportRule& rule : rules->service_imports) {
    auto made = std::make_unique<ServiceRoute>(account, shard_.account(rule.exporter), rule);
    if (!made->subject.is_usable()) continue;
    account_.interest().add(rule.local, {}, made->subscription);
    if (account_.observer() != nullptr) {
      account_.observer()->on_interest_changed(account_, rule.local, {}, made->subscription, 1);
    }
    shard_.note_interest(account_, rule.local);
    services_.push_back(std::move(made));
  }
}

AccountRoutes::~AccountRoutes() {
  for (auto& [origin, shadows] : shadows_) drop(shadows);
  for (const auto& service : services_) {
    if (account_.observer() != nullptr) {
      account_.observer()->on_interest_changed(account_, service->rule.local, {},
                                               service->subscription, -1);
    }
    account_.interest().remove(service->subscription);
    shard_.note_interest(account_, service->rule.local);
  }
}

void AccountRoutes::add_mapping(const config::SubjectMapping& from) {
  Mapping mapping{from.source, {}};
  int below = 0;
  for (const auto& destination : from.destinations) {
    // Another cluster's share is not ours.
    if (!destination.cluster.empty()) continue;
    SubjectRule rule(from.source, destination.subject);
    below = std::min(100, below + destination.weight);
    if (rule.is_usable()) mapping.destinations.push_back({below, std::move(rule)});
  }
  if (!mapping.destinations.empty()) mappings_.push_back(std::move(mapping));
}

std::vector<std::string> AccountRoutes::mapping_sources() const {
  std::vector<std::string> out;
  for (const Mapping& mapping : mappings_) out.push_back(mapping.source);
  return out;
}

std::string AccountRoutes::map(std::string_view subject) const {
  for (const Mapping& mapping : mappings_) {
    if (!subject::matches(mapping.source, subject)) continue;
    const auto pick = static_cast<int>(shard_.random().below(100));
    for (const Destination& destination : mapping.destinations) {
      if (pick < destination.below) return destination.subject.apply(subject);
    }
    return {};
  }
  return {};
}

void AccountRoutes::on_added(Subscription& subscription) {
  if (streams_.empty()) return;
  const auto kind = subscription.kind;
  // What stands for other loops casts its shadow there. What is imported is not exported further, as
  // with nats-server.
  if (kind == Subscription::Kind::OtherLoop || kind == Subscription::Kind::Service) return;
  if (kind == Subscription::Kind::Shadow) return;
  Shadows shadows;
  for (const auto& stream : streams_) {
    const std::string pattern = stream->exported_for(subscription.pattern());
    if (pattern.empty()) continue;
    auto shadow = std::make_unique<ShadowSubscription>();
    shadow->kind = Subscription::Kind::Shadow;
    shadow->stream = stream.get();
    shadow->origin = &subscription;
    shard_.add_interest(stream->exporter, pattern, subscription.queue(), *shadow);
    shadows.push_back(std::move(shadow));
  }
  if (!shadows.empty()) shadows_.emplace(&subscription, std::move(shadows));
}

void AccountRoutes::on_removed(Subscription& subscription) {
  if (shadows_.empty()) return;
  const auto found = shadows_.find(&subscription);
  if (found == shadows_.end()) return;
  Shadows shadows = std::move(found->second);
  shadows_.erase(found);
  drop(shadows);
}

void AccountRoutes::drop(Shadows& shadows) {
  for (const auto& shadow : shadows) {
    if (shadow->is_added()) shard_.remove_interest(shadow->stream->exporter, *shadow);
  }
}

}  // namespace brokkr::broker
