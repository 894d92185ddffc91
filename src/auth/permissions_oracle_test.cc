// Random rules against brute force: a subject is denied or not, however patterns and queues overlap.
// Advisories 2026-17 (denies that overlap with wildcards) and 2026-18 (denies of queue groups).
#include <gtest/gtest.h>

#include <bitset>
#include <cstdlib>
#include <map>

#include "auth/permissions.h"
#include "base/random.h"

namespace brokkr::auth {
namespace {

constexpr size_t kSubjects = 120;  // of one to four tokens, each "a", "b" or "z"
using Covered = std::bitset<kSubjects>;
using Tokens = std::vector<std::string>;

std::string join(const Tokens& tokens) {
  std::string out;
  for (const std::string& token : tokens) out += (out.empty() ? "" : ".") + token;
  return out;
}

// By definition: "*" is one token, ">" is one or more at the end.
bool covers(const Tokens& pattern, const Tokens& subject) {
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == ">") return subject.size() > i;
    if (i >= subject.size()) return false;
    if (pattern[i] != "*" && pattern[i] != subject[i]) return false;
  }
  return pattern.size() == subject.size();
}

void list_subjects(Tokens& tokens, std::vector<Tokens>& out) {
  if (!tokens.empty()) out.push_back(tokens);
  if (tokens.size() == 4) return;
  for (const char* token : {"a", "b", "z"}) {
    tokens.emplace_back(token);
    list_subjects(tokens, out);
    tokens.pop_back();
  }
}

class PermissionOracle : public testing::Test {
 protected:
  PermissionOracle() {
    Tokens tokens;
    list_subjects(tokens, subjects_);
    EXPECT_EQ(subjects_.size(), kSubjects);
  }

  struct Rule {
    Tokens subject;
    Covered covered;
    std::string queue;
    std::string text() const { return join(subject) + (queue.empty() ? "" : " " + queue); }
  };

  Tokens random_pattern(bool is_literal) {
    Tokens tokens;
    const size_t size = 1 + random_.below(3);
    for (size_t i = 0; i < size; ++i) {
      const uint64_t pick = random_.below(is_literal ? 2 : 4);
      if (pick == 3 && i + 1 == size) {
        tokens.emplace_back(">");
      } else {
        tokens.emplace_back(pick >= 2 ? "*" : pick == 0 ? "a" : "b");
      }
    }
    return tokens;
  }
  Rule random_rule(bool may_have_queue) {
    Rule rule;
    rule.subject = random_pattern(false);
    rule.covered = covered_by(rule.subject);
    constexpr const char* kQueues[] = {"", "", "q", "r", "q.*", "q.x"};
    if (may_have_queue) rule.queue = kQueues[random_.below(std::size(kQueues))];
    return rule;
  }
  Covered covered_by(const Tokens& pattern) {
    const auto [found, is_new] = covered_.try_emplace(join(pattern));
    if (is_new) {
      for (size_t i = 0; i < subjects_.size(); ++i) found->second[i] = covers(pattern, subjects_[i]);
    }
    return found->second;
  }
  static bool names_queue(const Rule& rule, const std::string& queue) {
    if (rule.queue == "q.*") return queue == "q.*" || queue == "q.x" || queue == "q.y";
    return rule.queue == queue;
  }
  std::vector<Rule> random_rules(bool may_have_queue) {
    std::vector<Rule> rules(random_.below(4));
    for (Rule& rule : rules) rule = random_rule(may_have_queue);
    return rules;
  }
  static std::vector<std::string> texts(const std::vector<Rule>& rules) {
    std::vector<std::string> out;
    for (const Rule& rule : rules) out.push_back(rule.text());
    return out;
  }

  const uint64_t seed_ = secure_seed();
  SeededRandom random_{seed_};
  std::vector<Tokens> subjects_;
  std::map<std::string, Covered> covered_;
};

size_t case_count() {
  const char* wanted = std::getenv("PERMISSION_CASES");
  return wanted == nullptr ? 1'000'000 : std::strtoull(wanted, nullptr, 10);
}

TEST_F(PermissionOracle, PublishIsWhatBruteForceSays) {
  const size_t cases = case_count() / 2;
  for (size_t done = 0; done < cases;) {
    PermissionRules rules;
    const auto allow = random_rules(false);
    const auto deny = random_rules(false);
    rules.publish.has_allow = random_.below(3) > 0;
    rules.publish.allow = rules.publish.has_allow ? texts(allow) : std::vector<std::string>();
    rules.publish.deny = texts(deny);
    const Permissions permissions(rules);
    for (size_t i = 0; i < 20; ++i, ++done) {
      const size_t at = random_.below(kSubjects);
      bool expected = !rules.publish.has_allow;
      if (rules.publish.has_allow) {
        for (const Rule& rule : allow) expected |= rule.covered[at];
      }
      for (const Rule& rule : deny) expected &= !rule.covered[at];
      ASSERT_EQ(permissions.may_publish(join(subjects_[at])), expected)
          << join(subjects_[at]) << " seed " << seed_ << " case " << done;
    }
  }
}

// What a subscription is let in for, and what is then delivered to it.
TEST_F(PermissionOracle, DeliveryIsWhatBruteForceSays) {
  constexpr const char* kQueues[] = {"", "q", "r", "q.x", "q.y", "s"};
  const size_t cases = case_count() / 2;
  for (size_t done = 0; done < cases;) {
    PermissionRules rules;
    const auto allow = random_rules(true);
    const auto deny = random_rules(true);
    rules.subscribe.has_allow = random_.below(3) > 0;
    rules.subscribe.allow = rules.subscribe.has_allow ? texts(allow) : std::vector<std::string>();
    rules.subscribe.deny = texts(deny);
    const Permissions permissions(rules);
    for (size_t i = 0; i < 20; ++i, ++done) {
      const Tokens pattern = random_pattern(random_.below(3) == 0);
      const Covered asked = covered_by(pattern);
      const std::string queue = kQueues[random_.below(std::size(kQueues))];
      const auto applies = [&](const Rule& rule) {
        return rule.queue.empty() || (!queue.empty() && names_queue(rule, queue));
      };
      bool plain = !rules.subscribe.has_allow;
      bool has_queue_rule = false;
      bool by_queue = false;
      if (rules.subscribe.has_allow) {
        for (const Rule& rule : allow) {
          if ((asked & ~rule.covered).any()) continue;  // wider than the rule
          plain |= rule.queue.empty();
          has_queue_rule |= !rule.queue.empty();
          by_queue |= !rule.queue.empty() && names_queue(rule, queue);
        }
      }
      const bool allowed = !queue.empty() && has_queue_rule ? by_queue : plain;
      bool inside_deny = false;
      Covered denied;
      for (const Rule& rule : deny) {
        if (!applies(rule)) continue;
        inside_deny |= (asked & ~rule.covered).none();
        denied |= rule.covered;
      }
      const std::string text = join(pattern);
      const bool let_in = permissions.may_subscribe(text, queue);
      const auto what = [&] {
        std::string out = "pattern " + text + " queue <" + queue + "> allow";
        for (const Rule& rule : allow) out += " <" + rule.text() + ">";
        out += " deny";
        for (const Rule& rule : deny) out += " <" + rule.text() + ">";
        return out + " seed " + std::to_string(seed_);
      };
      if (!allowed || inside_deny) {
        ASSERT_FALSE(let_in) << what();
      }
      if (allowed && (asked & denied).none()) {
        ASSERT_TRUE(let_in) << what();
      }
      if (!let_in) continue;
      const bool is_filtered = permissions.needs_delivery_filter(text, queue);
      for (size_t at = 0; at < kSubjects; ++at) {
        if (!asked[at]) continue;
        const bool delivered = !is_filtered || permissions.may_receive(join(subjects_[at]), queue);
        ASSERT_EQ(delivered, !denied[at]) << what() << " subject " << join(subjects_[at]);
      }
    }
  }
}

}  // namespace
}  // namespace brokkr::auth
