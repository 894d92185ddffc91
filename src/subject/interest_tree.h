#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "subject/pointer_table.h"

namespace brokkr::subject {

class Interest;
class InterestTree;
class QueueGroup;
struct TokenNode;

// One subscription as the tree sees it: the broker's own record derives from this. It stays where
// it is while added (the tree points to it) and must be removed before it is destroyed.
// Loop-confined.
class Subscriber {
 public:
  Subscriber() = default;
  Subscriber(const Subscriber&) = delete;
  Subscriber& operator=(const Subscriber&) = delete;
  ~Subscriber();

  bool is_added() const { return interest_ != nullptr; }
  // The pattern and the queue name it was added under; only while added. The text is shared by
  // all subscribers of the pattern, so a record needs no copy of its own.
  std::string_view pattern() const;
  std::string_view queue() const;

 private:
  friend class InterestTree;
  friend class SubscriberList;
  Interest* interest_ = nullptr;
  QueueGroup* group_ = nullptr;  // null for a plain subscription
  uint32_t index_ = 0;           // place in the list of the group or of the interest
};

// Subscribers in no particular order. One needs no allocation; adding and removing are O(1).
class SubscriberList {
 public:
  SubscriberList() = default;
  SubscriberList(const SubscriberList&) = delete;
  SubscriberList& operator=(const SubscriberList&) = delete;
  ~SubscriberList();

  uint32_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Subscriber* const* begin() const { return capacity_ == 0 ? &one_ : many_; }
  Subscriber* const* end() const { return begin() + size_; }
  Subscriber* operator[](size_t index) const { return begin()[index]; }

 private:
  friend class InterestTree;
  void add(Subscriber&);
  void remove(Subscriber&);
  void resize(uint32_t capacity);

  union {
    Subscriber* one_ = nullptr;
    Subscriber** many_;
  };
  uint32_t size_ = 0;
  uint32_t capacity_ = 0;  // 0: the single one is in place
};

// The members of one queue name on one pattern. A message goes to one of them; the broker picks.
class QueueGroup {
 public:
  std::string_view name() const { return name_; }
  const SubscriberList& members() const { return members_; }
  const QueueGroup* next() const { return next_; }

 private:
  friend class InterestTree;
  explicit QueueGroup(std::string_view name) : name_(name) {}
  std::string name_;
  SubscriberList members_;
  QueueGroup* next_ = nullptr;
};

// All subscribers of one pattern: the plain ones, each of which gets every message, and the queue
// groups. It exists exactly as long as it has a subscriber.
class Interest {
 public:
  std::string_view pattern() const { return {reinterpret_cast<const char*>(this + 1), size_}; }
  const SubscriberList& subscribers() const { return subscribers_; }
  // for (const QueueGroup* group = interest.first_group(); group; group = group->next())
  const QueueGroup* first_group() const { return groups_; }

 private:
  friend class InterestTree;
  Interest() = default;
  SubscriberList subscribers_;
  QueueGroup* groups_ = nullptr;
  TokenNode* node_ = nullptr;  // where a wildcard pattern hangs; null for a literal
  uint32_t size_ = 0;                 // of the pattern, whose text follows this object
};

// The interests a subject has. Holds pointers, so it is valid until the next `add` or `remove` on
// the tree: while delivering, put removals off. Other calls of `match` do not disturb it.
class Match {
 public:
  Match() = default;
  Match(Match&& other) noexcept;
  Match& operator=(Match&&) = delete;
  ~Match() {
    if (capacity_ != kInline) delete[] many_;
  }

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  const Interest* const* begin() const { return capacity_ == kInline ? few_ : many_; }
  const Interest* const* end() const { return begin() + size_; }

 private:
  friend class InterestTree;
  static constexpr uint32_t kInline = 6;
  void push(const Interest* interest) {
    if (size_ == capacity_) grow();
    (capacity_ == kInline ? few_ : many_)[size_++] = interest;
  }
  void grow();

  uint32_t size_ = 0;
  uint32_t capacity_ = kInline;
  union {
    const Interest* few_[kInline];
    const Interest** many_;
  };
};

// The routing table of one account on one loop: which subscribers get a message on a subject.
//
//   literal pattern -> hash table of interests
//   wildcard        -> tree of tokens; children of all nodes share one hash table
//   both            -> a direct-mapped cache: subject -> interests
//
// An interest that stays in place never invalidates the cache, however its subscribers change. A
// literal interest that comes or goes drops one cached subject; a wildcard one drops the subjects
// that share its first token, or all when it begins with a wildcard. Loop-confined.
class InterestTree {
 public:
  struct Stats {
    uint64_t inserts = 0;
    uint64_t removes = 0;
    uint64_t matches = 0;
    uint64_t cache_hits = 0;
    size_t subscriptions = 0;   // now
    size_t interests = 0;       // distinct patterns now
    size_t cache_entries = 0;   // usable now
    size_t fanout_max = 0;      // subscribers over the cached subjects
    double fanout_average = 0;
  };

  // `hash_seed` should differ from run to run, so that nobody can aim at one bucket.
  explicit InterestTree(uint64_t hash_seed = 0);
  ~InterestTree();  // all subscribers must have been removed
  InterestTree(const InterestTree&) = delete;
  InterestTree& operator=(const InterestTree&) = delete;

  // `pattern` is valid (see `is_valid`); `queue` is empty for a plain subscription. Costs one step
  // per token. `subscriber` must not be added to any tree.
  void add(std::string_view pattern, std::string_view queue, Subscriber& subscriber);
  // Takes out a subscriber of this tree in constant time, and with the last one of a pattern the
  // pattern's memory.
  void remove(Subscriber& subscriber);

  // Any text may be asked; what is no valid subject has no interest.
  Match match(std::string_view literal);
  bool has_interest(std::string_view literal) { return !match(literal).empty(); }

  // The interest of exactly this pattern; null when nobody subscribes to it.
  const Interest* find(std::string_view pattern) const;
  // Every pattern, in no particular order.
  void for_each(FunctionRef<void(const Interest&)>) const;

  size_t size() const { return subscription_count_; }
  bool empty() const { return subscription_count_ == 0; }
  // Scans the cache for the fan-out figures.
  Stats stats() const;

 private:
  struct CacheEntry;
  static constexpr size_t kGenerations = 64;
  static constexpr size_t kCacheMin = 64;
  static constexpr size_t kCacheMax = 4096;

  uint64_t hash_text(std::string_view) const;
  TokenNode* find_child(const TokenNode&, std::string_view token, uint64_t token_hash) const;
  TokenNode& child(TokenNode&, std::string_view token);
  Interest** make_place(std::string_view pattern, TokenNode*& node);
  const Interest* find_wildcard(std::string_view pattern) const;
  Interest& find_or_make(std::string_view pattern);
  void drop_if_unused(Interest&);
  void prune(TokenNode*);

  void match_uncached(std::string_view literal, uint64_t hash, Match& out);
  bool split(std::string_view literal);
  void walk(Match& out);

  uint64_t stamp(size_t slot) const { return generation_any_ + generations_[slot]; }
  void keep_cached(std::string_view literal, uint64_t hash, const Match&);
  void grow_cache();
  void forget_literal(uint64_t hash);
  void forget_wildcard(std::string_view pattern);

  struct Token {
    std::string_view text;
    uint64_t hash;
  };
  // A node whose "*" was followed first; its child for the token at `depth` is still to be looked at.
  struct Fork {
    const TokenNode* node;
    size_t depth;
  };

  uint64_t seed_;
  PointerTable<Interest> literals_;
  PointerTable<TokenNode> nodes_;  // every node but the root and the "*" ones
  std::unique_ptr<TokenNode> root_;
  size_t wildcard_count_ = 0;
  size_t subscription_count_ = 0;
  std::vector<Token> tokens_;  // of the subject being matched
  std::vector<Fork> forks_;    // of the walk under way

  std::vector<CacheEntry> cache_;
  size_t cache_evictions_ = 0;  // since the cache last grew
  // Wildcard interests that came or went: those with a wildcard first, and the others by hash of
  // their first token.
  uint64_t generation_any_ = 0;
  std::array<uint64_t, kGenerations> generations_{};

  uint64_t inserts_ = 0;
  uint64_t removes_ = 0;
  uint64_t matches_ = 0;
  uint64_t cache_hits_ = 0;
};

}  // namespace brokkr::subject
