#include "subject/interest_tree.h"

#include <cstring>
#include <new>

#include "base/check.h"
#include "base/hash.h"
#include "subject/subject.h"

namespace brokkr::subject {

// A place in the tree of wildcard patterns: the tokens from the root to here. The text of its own
// token follows the object; the node of a "*" has none.
struct TokenNode {
  TokenNode* parent = nullptr;
  TokenNode* star = nullptr;   // the child for "*", when something follows that "*"
  Interest* here = nullptr;    // of the pattern that ends with this token
  Interest* any = nullptr;     // … with "*" after it
  Interest* rest = nullptr;    // … with ">" after it
  uint32_t children = 0;       // in the shared table, so without `star`
  uint32_t size = 0;

  std::string_view token() const { return {reinterpret_cast<const char*>(this + 1), size}; }
  bool is_unused() const {
    return children == 0 && star == nullptr && here == nullptr && any == nullptr && rest == nullptr;
  }
};

// What the cache knows about one subject: two cache lines.
struct InterestTree::CacheEntry {
  static constexpr size_t kFew = 3;
  static constexpr size_t kSubjectMax = 80;

  CacheEntry() = default;
  CacheEntry(const CacheEntry&) = delete;
  CacheEntry& operator=(const CacheEntry&) = delete;
  ~CacheEntry() { clear(); }

  void clear() {
    if (count > kFew) delete[] many;
    count = 0;
    subject_size = 0;
  }
  bool is_for(std::string_view text, uint64_t text_hash) const {
    return hash == text_hash && subject_size == text.size() &&
           equal_short(subject, text.data(), text.size());
  }
  const Interest* const* begin() const { return count > kFew ? many : few; }

  uint64_t hash = 0;
  uint64_t stamp = 0;  // the generation in which this was found
  union {
    const Interest* few[kFew];
    const Interest** many;
  };
  uint32_t count = 0;
  uint8_t slot = 0;          // which generation counts
  uint8_t subject_size = 0;  // 0: unused
  char subject[kSubjectMax];
};

namespace {

// An object whose text follows it in one allocation.
template <typename T>
T* make_with_text(T&& object, std::string_view text) {
  void* memory = ::operator new(sizeof(T) + text.size());
  text.copy(static_cast<char*>(memory) + sizeof(T), text.size());
  return new (memory) T(std::move(object));
}

bool is_same(std::string_view a, std::string_view b) {
  return a.size() == b.size() && equal_short(a.data(), b.data(), a.size());
}

uint64_t child_hash(const TokenNode& parent, uint64_t token_hash) {
  const auto id = static_cast<uint64_t>(reinterpret_cast<uintptr_t>(&parent));
  const unsigned __int128 product =
      static_cast<unsigned __int128>(token_hash ^ id) * 0xa0761d6478bd642fULL;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

Subscriber::~Subscriber() { DCHECK(interest_ == nullptr); }

std::string_view Subscriber::pattern() const { return interest_->pattern(); }

std::string_view Subscriber::queue() const {
  return group_ != nullptr ? group_->name() : std::string_view();
}

SubscriberList::~SubscriberList() {
  if (capacity_ != 0) delete[] many_;
}

void SubscriberList::resize(uint32_t capacity) {
  if (capacity <= 1) {
    Subscriber* last = size_ > 0 ? many_[0] : nullptr;
    delete[] many_;
    one_ = last;
    capacity_ = 0;
    return;
  }
  auto** larger = new Subscriber*[capacity];
  std::memcpy(larger, begin(), size_ * sizeof(Subscriber*));
  if (capacity_ != 0) delete[] many_;
  many_ = larger;
  capacity_ = capacity;
}

void SubscriberList::add(Subscriber& subscriber) {
  subscriber.index_ = size_;
  if (size_ == 0 && capacity_ == 0) {
    one_ = &subscriber;
  } else {
    if (capacity_ == 0) {
      resize(4);
    } else if (size_ == capacity_) {
      resize(capacity_ * 2);
    }
    many_[size_] = &subscriber;
  }
  ++size_;
}

// The last one takes the place of the removed one.
void SubscriberList::remove(Subscriber& subscriber) {
  --size_;
  if (capacity_ == 0) {
    one_ = nullptr;
    return;
  }
  Subscriber* moved = many_[size_];
  many_[subscriber.index_] = moved;
  moved->index_ = subscriber.index_;
  if (size_ <= 1) {
    resize(1);
  } else if (size_ * 4 <= capacity_) {
    resize(capacity_ / 2);
  }
}

Match::Match(Match&& other) noexcept : size_(other.size_), capacity_(other.capacity_) {
  std::memcpy(few_, other.few_, sizeof few_);
  other.size_ = 0;
  other.capacity_ = kInline;
}

void Match::grow() {
  auto** larger = new const Interest*[capacity_ * 4];
  std::memcpy(larger, begin(), size_ * sizeof(const Interest*));
  if (capacity_ != kInline) delete[] many_;
  many_ = larger;
  capacity_ *= 4;
}

InterestTree::InterestTree(uint64_t hash_seed)
    : seed_(hash_seed), root_(std::make_unique<TokenNode>()) {}

InterestTree::~InterestTree() { DCHECK(subscription_count_ == 0); }

uint64_t InterestTree::hash_text(std::string_view text) const {
  return hash_short(text.data(), text.size(), seed_);
}

TokenNode* InterestTree::find_child(const TokenNode& parent, std::string_view token,
                                    uint64_t token_hash) const {
  return nodes_.find(child_hash(parent, token_hash), [&](const TokenNode& node) {
    return node.parent == &parent && is_same(node.token(), token);
  });
}

TokenNode& InterestTree::child(TokenNode& parent, std::string_view token) {
  const uint64_t hash = hash_text(token);
  if (TokenNode* found = find_child(parent, token, hash)) return *found;
  TokenNode* node = make_with_text(
      TokenNode{.parent = &parent, .size = static_cast<uint32_t>(token.size())}, token);
  nodes_.insert(child_hash(parent, hash), node);
  ++parent.children;
  return *node;
}

// Where the interest of a wildcard pattern hangs, with the nodes on the way to it.
Interest** InterestTree::make_place(std::string_view pattern, TokenNode*& node) {
  node = root_.get();
  while (true) {
    const size_t dot = pattern.find('.');
    const std::string_view token = pattern.substr(0, dot);
    const bool is_last = dot == std::string_view::npos;
    if (token == ">") return &node->rest;
    if (token == "*") {
      if (is_last) return &node->any;
      if (node->star == nullptr) node->star = make_with_text(TokenNode{.parent = node}, {});
      node = node->star;
    } else {
      node = &child(*node, token);
      if (is_last) return &node->here;
    }
    pattern.remove_prefix(dot + 1);
  }
}

const Interest* InterestTree::find_wildcard(std::string_view pattern) const {
  const TokenNode* node = root_.get();
  while (node != nullptr) {
    const size_t dot = pattern.find('.');
    const std::string_view token = pattern.substr(0, dot);
    const bool is_last = dot == std::string_view::npos;
    if (token == ">") return is_last ? node->rest : nullptr;
    if (token == "*") {
      if (is_last) return node->any;
      node = node->star;
    } else {
      node = find_child(*node, token, hash_text(token));
      if (is_last) return node != nullptr ? node->here : nullptr;
    }
    pattern.remove_prefix(dot + 1);
  }
  return nullptr;
}

const Interest* InterestTree::find(std::string_view pattern) const {
  if (!is_literal(pattern)) return find_wildcard(pattern);
  return literals_.find(hash_text(pattern),
                        [&](const Interest& it) { return is_same(it.pattern(), pattern); });
}

Interest& InterestTree::find_or_make(std::string_view pattern) {
  const auto make = [&](TokenNode* node) {
    Interest* interest = new (::operator new(sizeof(Interest) + pattern.size())) Interest;
    interest->size_ = static_cast<uint32_t>(pattern.size());
    interest->node_ = node;
    std::memcpy(reinterpret_cast<char*>(interest + 1), pattern.data(), pattern.size());
    return interest;
  };
  if (is_literal(pattern)) {
    const uint64_t hash = hash_text(pattern);
    Interest* interest =
        literals_.find(hash, [&](const Interest& it) { return is_same(it.pattern(), pattern); });
    if (interest == nullptr) {
      interest = make(nullptr);
      literals_.insert(hash, interest);
      forget_literal(hash);
    }
    return *interest;
  }
  TokenNode* node = nullptr;
  Interest** place = make_place(pattern, node);
  if (*place == nullptr) {
    *place = make(node);
    ++wildcard_count_;
    forget_wildcard(pattern);
  }
  return **place;
}

void InterestTree::add(std::string_view pattern, std::string_view queue, Subscriber& subscriber) {
  DCHECK(is_valid(pattern));
  DCHECK(!subscriber.is_added());
  Interest& interest = find_or_make(pattern);
  subscriber.interest_ = &interest;
  if (queue.empty()) {
    subscriber.group_ = nullptr;
    interest.subscribers_.add(subscriber);
  } else {
    QueueGroup* group = interest.groups_;
    while (group != nullptr && group->name_ != queue) group = group->next_;
    if (group == nullptr) {
      group = new QueueGroup(queue);
      group->next_ = interest.groups_;
      interest.groups_ = group;
    }
    subscriber.group_ = group;
    group->members_.add(subscriber);
  }
  ++subscription_count_;
  ++inserts_;
}

void InterestTree::remove(Subscriber& subscriber) {
  DCHECK(subscriber.is_added());
  Interest& interest = *subscriber.interest_;
  if (QueueGroup* group = subscriber.group_) {
    group->members_.remove(subscriber);
    if (group->members_.empty()) {
      QueueGroup** link = &interest.groups_;
      while (*link != group) link = &(*link)->next_;
      *link = group->next_;
      delete group;
    }
  } else {
    interest.subscribers_.remove(subscriber);
  }
  subscriber.interest_ = nullptr;
  subscriber.group_ = nullptr;
  --subscription_count_;
  ++removes_;
  drop_if_unused(interest);
}

void InterestTree::drop_if_unused(Interest& interest) {
  if (!interest.subscribers_.empty() || interest.groups_ != nullptr) return;
  if (TokenNode* node = interest.node_) {
    --wildcard_count_;
    forget_wildcard(interest.pattern());
    for (Interest** place : {&node->here, &node->any, &node->rest}) {
      if (*place == &interest) *place = nullptr;
    }
    prune(node);
  } else {
    const uint64_t hash = hash_text(interest.pattern());
    literals_.erase(hash, &interest);
    forget_literal(hash);
  }
  interest.~Interest();
  ::operator delete(&interest);
}

// Frees `node` and those above it that nothing needs any more.
void InterestTree::prune(TokenNode* node) {
  while (node != root_.get() && node->is_unused()) {
    TokenNode* parent = node->parent;
    if (node == parent->star) {
      parent->star = nullptr;
    } else {
      nodes_.erase(child_hash(*parent, hash_text(node->token())), node);
      --parent->children;
    }
    ::operator delete(node);
    node = parent;
  }
}

Match InterestTree::match(std::string_view literal) {
  Match out;
  ++matches_;
  if (literal.empty()) return out;
  const uint64_t hash = hash_text(literal);
  if (wildcard_count_ > 0 && !cache_.empty()) {
    const CacheEntry& entry = cache_[hash & (cache_.size() - 1)];
    if (entry.is_for(literal, hash) && entry.stamp == stamp(entry.slot)) {
      ++cache_hits_;
      const Interest* const* found = entry.begin();
      for (uint32_t i = 0; i < entry.count; ++i) out.push(found[i]);
      return out;
    }
  }
  match_uncached(literal, hash, out);
  return out;
}

void InterestTree::match_uncached(std::string_view literal, uint64_t hash, Match& out) {
  const Interest* exact =
      literals_.find(hash, [&](const Interest& it) { return is_same(it.pattern(), literal); });
  if (exact != nullptr) out.push(exact);
  // Without wildcards the table of literals is as fast as the cache.
  if (wildcard_count_ == 0 || !split(literal)) return;
  walk(out);
  keep_cached(literal, hash, out);
}

// Fills `tokens_`; false when one is empty.
bool InterestTree::split(std::string_view literal) {
  tokens_.clear();
  const char* const end = literal.data() + literal.size();
  for (const char* token = literal.data();;) {
    const char* dot = token;
    while (dot != end && *dot != '.') ++dot;
    if (dot == token) return false;
    const std::string_view text(token, static_cast<size_t>(dot - token));
    tokens_.push_back(Token{text, hash_text(text)});
    if (dot == end) return true;
    token = dot + 1;
  }
}

// Keeps what is still to be looked at in `forks_`: a subject may have more tokens than a stack has
// room for calls.
void InterestTree::walk(Match& out) {
  const auto child_for = [this](const TokenNode& node, size_t depth) -> const TokenNode* {
    const Token& token = tokens_[depth];
    return node.children > 0 ? find_child(node, token.text, token.hash) : nullptr;
  };
  forks_.clear();
  const TokenNode* node = root_.get();
  size_t depth = 0;
  for (;;) {
    if (node->rest != nullptr) out.push(node->rest);
    if (depth + 1 == tokens_.size()) {
      if (node->any != nullptr) out.push(node->any);
      const TokenNode* const last = child_for(*node, depth);
      if (last != nullptr && last->here != nullptr) out.push(last->here);
      node = nullptr;
    } else if (node->star != nullptr) {
      if (node->children > 0) forks_.push_back({node, depth});
      node = node->star;
      ++depth;
    } else {
      node = child_for(*node, depth++);
    }
    while (node == nullptr) {
      if (forks_.empty()) return;
      const Fork fork = forks_.back();
      forks_.pop_back();
      node = child_for(*fork.node, fork.depth);
      depth = fork.depth + 1;
    }
  }
}

// Keeps a result found just now: `tokens_` still holds the tokens of `literal`.
void InterestTree::keep_cached(std::string_view literal, uint64_t hash, const Match& match) {
  if (literal.size() > CacheEntry::kSubjectMax) return;
  if (cache_.empty() || (cache_evictions_ > cache_.size() && cache_.size() < kCacheMax)) {
    grow_cache();
  }
  CacheEntry& entry = cache_[hash & (cache_.size() - 1)];
  if (entry.subject_size != 0 && entry.stamp == stamp(entry.slot)) ++cache_evictions_;
  entry.clear();
  entry.hash = hash;
  entry.slot = static_cast<uint8_t>(tokens_[0].hash % kGenerations);
  entry.stamp = stamp(entry.slot);
  entry.subject_size = static_cast<uint8_t>(literal.size());
  std::memcpy(entry.subject, literal.data(), literal.size());
  entry.count = static_cast<uint32_t>(match.size());
  if (entry.count > CacheEntry::kFew) entry.many = new const Interest*[entry.count];
  std::memcpy(entry.count > CacheEntry::kFew ? entry.many : entry.few, match.begin(),
              entry.count * sizeof(const Interest*));
}

// Starts again at double the size: what is in use comes back within one miss each.
void InterestTree::grow_cache() {
  const size_t size = cache_.empty() ? kCacheMin : cache_.size() * 2;
  cache_ = std::vector<CacheEntry>(size);
  cache_evictions_ = 0;
}

void InterestTree::forget_literal(uint64_t hash) {
  if (cache_.empty()) return;
  CacheEntry& entry = cache_[hash & (cache_.size() - 1)];
  if (entry.hash == hash) entry.clear();
}

void InterestTree::forget_wildcard(std::string_view pattern) {
  const std::string_view first = pattern.substr(0, pattern.find('.'));
  if (is_literal(first)) {
    ++generations_[hash_text(first) % kGenerations];
  } else {
    ++generation_any_;
  }
  if (wildcard_count_ == 0) cache_ = std::vector<CacheEntry>();
}

void InterestTree::for_each(FunctionRef<void(const Interest&)> visit) const {
  literals_.for_each([&](const Interest& interest) { visit(interest); });
  // A node of "*" is in no table: it is reached from the node above it.
  const auto visit_node = [&](const TokenNode& start) {
    for (const TokenNode* node = &start; node != nullptr; node = node->star) {
      for (const Interest* interest : {node->here, node->any, node->rest}) {
        if (interest != nullptr) visit(*interest);
      }
    }
  };
  visit_node(*root_);
  nodes_.for_each(visit_node);
}

InterestTree::Stats InterestTree::stats() const {
  Stats stats;
  stats.inserts = inserts_;
  stats.removes = removes_;
  stats.matches = matches_;
  stats.cache_hits = cache_hits_;
  stats.subscriptions = subscription_count_;
  stats.interests = literals_.size() + wildcard_count_;
  size_t total = 0;
  for (const CacheEntry& entry : cache_) {
    if (entry.subject_size == 0 || entry.stamp != stamp(entry.slot)) continue;
    size_t fanout = 0;
    for (uint32_t i = 0; i < entry.count; ++i) {
      const Interest& interest = *entry.begin()[i];
      fanout += interest.subscribers().size();
      for (const auto* group = interest.first_group(); group; group = group->next()) ++fanout;
    }
    ++stats.cache_entries;
    total += fanout;
    if (fanout > stats.fanout_max) stats.fanout_max = fanout;
  }
  if (stats.cache_entries > 0) {
    stats.fanout_average = static_cast<double>(total) / static_cast<double>(stats.cache_entries);
  }
  return stats;
}

}  // namespace brokkr::subject
