#include "workload/access.h"

#include <algorithm>

#include "base/bytes.h"
#include "subject/subject.h"

namespace brokkr::workload {
namespace {

using subject::collide;
using subject::is_subset;
using subject::token_at;
using subject::token_count;
using Tokens = std::vector<std::string_view>;

constexpr std::string_view kDefaultNamespace = "default";
constexpr size_t kNameBytesMax = 255;
constexpr int kSourceDepthMax = 16;

// First tokens of which nobody's workload gets anything.
constexpr std::string_view kReservedFirst[] = {"$SYS", "$NEX",  "$NRG", "$GNR", "$GR",
                                               "$LDS", "$MQTT", "_R_",  "_GR_"};
// Those with rules of their own.
constexpr std::string_view kRuledFirst[] = {"$JS", "$KV", "$O", "$SRV", "_INBOX"};

bool contains(const Words& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool is_covered(std::string_view pattern, const Words& by) {
  return std::any_of(by.begin(), by.end(), [pattern](const std::string& allowed) {
    return subject::is_valid(allowed) && is_subset(pattern, allowed);
  });
}

bool is_touched(std::string_view pattern, const Words& by) {
  return std::any_of(by.begin(), by.end(), [pattern](const std::string& claimed) {
    return subject::is_valid(claimed) && collide(pattern, claimed);
  });
}

bool is_reserved(std::string_view first) {
  return std::find(std::begin(kReservedFirst), std::end(kReservedFirst), first) !=
         std::end(kReservedFirst);
}

bool is_wildcard(std::string_view token) { return token == "*" || token == ">"; }

// As buckets are named; streams may have more in them, but none of the ones workloads make do.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= kNameBytesMax &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_';
         });
}

// The control plane's own, with what deploys of older clients are kept in.
bool is_control_name(std::string_view name) {
  return name.starts_with("NEX_") || name == "NEXCLIFILES";
}

// The namespace in a name at the server; empty when there is none.
std::string_view owner_of(std::string_view name) {
  const size_t at = name.rfind("__");
  return at == std::string_view::npos ? std::string_view() : name.substr(0, at);
}

class AccessRules final : public Access {
 public:
  AccessRules(Names names, const Grants& grants, const Namespaces& all)
      : names_(std::move(names)), grants_(grants), streams_(all.streams) {
    for (const NamespaceRecord& record : all.records) {
      if (record.ns == names_.ns) {
        own_ = record;
        continue;
      }
      has_others_ = true;
      const auto add = [](Words& to, const Words& from) {
        to.insert(to.end(), from.begin(), from.end());
      };
      add(claimed_subjects_, record.subjects);
      add(claimed_buckets_, record.buckets);
      add(claimed_object_buckets_, record.object_buckets);
      add(claimed_streams_, record.streams);
    }
  }

  const Names& names() const override { return names_; }

  bool may_publish(std::string_view subject) const override { return may(subject, true); }
  bool may_subscribe(std::string_view pattern) const override { return may(pattern, false); }

  // The server itself writes "_R_" replies; it takes them from nobody.
  bool may_answer(std::string_view reply) const override {
    if (!subject::is_valid_literal(reply)) return false;
    const std::string_view first = token_at(reply, 0);
    if (first == "_INBOX" || first == "_R_") return true;
    return !first.starts_with('$') && !is_reserved(first) && !is_touched(reply, claimed_subjects_);
  }

  bool may_use_key_value(std::string_view bucket) const override {
    return is_plain_name(bucket) && !is_control_name(bucket) &&
           is_granted(grants_.buckets, bucket) &&
           namespace_has(own_.buckets, claimed_buckets_, key_value_name(bucket)) &&
           (contains(own_.buckets, bucket) || streams_ == nullptr ||
            may_hear("KV_" + key_value_name(bucket)));
  }
  bool may_use_object_store(std::string_view bucket) const override {
    return is_plain_name(bucket) && !is_control_name(bucket) &&
           is_granted(grants_.object_buckets, bucket) &&
           namespace_has(own_.object_buckets, claimed_object_buckets_, object_store_name(bucket)) &&
           (contains(own_.object_buckets, bucket) || streams_ == nullptr ||
            may_hear("OBJ_" + object_store_name(bucket)));
  }
  bool may_use_stream(std::string_view stream) const override {
    if (!is_plain_name(stream)) return false;
    if (stream.starts_with("KV_")) return may_use_key_value(local_name(own_.buckets, stream.substr(3)));
    if (stream.starts_with("OBJ_")) {
      return may_use_object_store(local_name(own_.object_buckets, stream.substr(4)));
    }
    return is_granted(grants_.streams, stream) && !is_control_name(stream) &&
           (contains(own_.streams, stream) ||
            (namespace_has({}, claimed_streams_, stream) && may_hear(stream)));
  }
  bool may_read_stream(std::string_view stream) const override {
    if (may_use_stream(stream)) return true;
    const bool is_bucket = stream.starts_with("KV_") || stream.starts_with("OBJ_");
    return is_plain_name(stream) && !is_bucket && !is_control_name(stream) &&
           is_granted(grants_.streams, stream) && !contains(claimed_streams_, stream) &&
           judge(stream, 0) == Content::Own;
  }

  std::string key_value_name(std::string_view bucket) const override {
    return server_name(own_.buckets, bucket);
  }
  std::string object_store_name(std::string_view bucket) const override {
    return server_name(own_.object_buckets, bucket);
  }

 private:
  bool is_default() const { return names_.ns == kDefaultNamespace; }

  bool is_granted(const Words& granted, std::string_view name) const {
    return !grants_.is_declared || contains(granted, name);
  }

  std::string server_name(const Words& own, std::string_view bucket) const {
    if (is_default() || contains(own, bucket)) return std::string(bucket);
    return names_.ns + "__" + std::string(bucket);
  }

  // The other way round; what is not the namespace's comes out as a name it may not use.
  std::string_view local_name(const Words& own, std::string_view at_server) const {
    if (is_default() || contains(own, at_server)) return at_server;
    if (owner_of(at_server) != names_.ns) return {};
    return at_server.substr(names_.ns.size() + 2);
  }

  // `name` is the one at the server.
  bool namespace_has(const Words& own, const Words& claimed, std::string_view name) const {
    if (is_control_name(name)) return false;
    if (!own.empty()) return contains(own, name);
    if (contains(claimed, name)) return false;
    return owner_of(name) == (is_default() ? std::string_view() : std::string_view(names_.ns));
  }

  // What a stream collects, to this namespace.
  enum class Content : uint8_t {
    Unknown,
    Own,      // all of it on subjects its record lists
    Shared,   // nobody's, as far as it may hear it
    Foreign,  // some of it is not for it
  };
  static Content worse(Content a, Content b) { return std::max(a, b); }

  bool may_hear(std::string_view stream) const { return judge(stream, 0) != Content::Foreign; }

  Content judge(std::string_view stream, int depth) const {
    if (streams_ == nullptr) return Content::Unknown;
    const auto found = streams_->find(stream);
    if (found == streams_->end()) return Content::Unknown;
    const StreamContent& content = found->second;
    if (content.is_foreign || depth > kSourceDepthMax) return Content::Foreign;
    Content verdict = Content::Own;
    for (const std::string& subject : content.subjects) verdict = worse(verdict, judge_subject(subject));
    for (const std::string& source : content.sources) {
      if (contains(own_.streams, source)) continue;
      if (contains(claimed_streams_, source) || is_control_stream(source)) return Content::Foreign;
      Content of_source = judge(source, depth + 1);
      if (of_source == Content::Unknown) {
        of_source = is_named_for_us(source) ? Content::Shared : Content::Foreign;
      }
      verdict = worse(verdict, of_source);
    }
    return verdict;
  }

  // The grants of a workload do not matter: what its namespace has is decided first.
  Content judge_subject(std::string_view pattern) const {
    if (!subject::is_valid(pattern)) return Content::Foreign;
    const std::string_view first = token_at(pattern, 0);
    if (is_wildcard(first) && reaches_special(pattern)) return Content::Foreign;
    if (is_reserved(first) || first == "$JS" || first == "$SRV" || first.starts_with("_INBOX")) {
      return Content::Foreign;
    }
    if (first == "$KV" || first == "$O") {
      const bool is_kv = first == "$KV";
      const std::string_view bucket = token_at(pattern, 1);
      const bool has = is_plain_name(bucket) &&
                       namespace_has(is_kv ? own_.buckets : own_.object_buckets,
                                     is_kv ? claimed_buckets_ : claimed_object_buckets_, bucket);
      return has ? Content::Shared : Content::Foreign;
    }
    if (!own_.subjects.empty()) return is_covered(pattern, own_.subjects) ? Content::Own : Content::Foreign;
    return is_touched(pattern, claimed_subjects_) ? Content::Foreign : Content::Shared;
  }

  static bool is_control_stream(std::string_view stream) {
    for (const std::string_view prefix : {"KV_", "OBJ_"}) {
      if (stream.starts_with(prefix)) stream.remove_prefix(prefix.size());
    }
    return is_control_name(stream);
  }

  bool is_named_for_us(std::string_view stream) const {
    for (const std::string_view prefix : {"KV_", "OBJ_"}) {
      if (stream.starts_with(prefix)) stream.remove_prefix(prefix.size());
    }
    return namespace_has({}, claimed_streams_, stream);
  }

  bool may(std::string_view pattern, bool is_publish) const {
    if (!subject::is_valid(pattern)) return false;
    const std::string_view first = token_at(pattern, 0);
    if (is_wildcard(first) && reaches_special(pattern)) return false;
    if (is_reserved(first)) return false;
    if (first == "$JS") return may_jetstream(split(pattern, '.'), is_publish);
    if (first == "$KV") return may_use_key_value(local_name(own_.buckets, token_at(pattern, 1)));
    if (first == "$O") {
      return may_use_object_store(local_name(own_.object_buckets, token_at(pattern, 1)));
    }
    if (first == "$SRV") return may_service(pattern, is_publish);
    if (first == "_INBOX") return !is_publish && may_inbox(pattern);
    if (first.starts_with("_INBOX")) return false;  // of clients that keep theirs apart
    const Words& granted = is_publish ? grants_.publish : grants_.subscribe;
    if (grants_.is_declared && !is_covered(pattern, granted)) return false;
    if (is_publish && is_covered(pattern, own_.imports)) return true;
    if (!own_.subjects.empty()) return is_covered(pattern, own_.subjects);
    return !is_touched(pattern, claimed_subjects_);
  }

  static bool reaches_special(std::string_view pattern) {
    const auto reaches = [pattern](std::string_view first) {
      return collide(pattern, std::string(first) + ".>");
    };
    return std::any_of(std::begin(kReservedFirst), std::end(kReservedFirst), reaches) ||
           std::any_of(std::begin(kRuledFirst), std::end(kRuledFirst), reaches);
  }

  static bool may_inbox(std::string_view pattern) {
    return token_count(pattern) >= 2 && !is_wildcard(token_at(pattern, 1));
  }

  // $SRV.<verb>[.<name>[.<id>]]: a service answers there; asking reaches those of every namespace,
  // unless an id is named, which only who was told it knows.
  bool may_service(std::string_view pattern, bool is_publish) const {
    const size_t count = token_count(pattern);
    if (!subject::is_literal(pattern) || count < 2 || count > 4) return false;
    return !is_publish || count == 4 || (is_default() && !has_others_ && !grants_.is_declared);
  }

  bool may_jetstream(const Tokens& tokens, bool is_publish) const {
    if (tokens.size() < 3) return false;
    if (!is_publish) return may_advisory(tokens);
    if (tokens[1] == "API") return may_api(tokens);
    if (tokens[1] == "ACK") {
      // $JS.ACK.<stream>.<consumer> and five more, or with <domain>.<account> in front.
      if (tokens.size() == 9) return may_read_stream(tokens[2]);
      return (tokens.size() == 11 || tokens.size() == 12) && may_read_stream(tokens[4]);
    }
    if (tokens[1] == "FC") return may_read_stream(tokens[2]);
    return tokens[1] == "SNAPSHOT" && tokens[2] == "ACK" && tokens.size() > 3 &&
           may_use_stream(tokens[3]);
  }

  // $JS.EVENT.{ADVISORY,METRIC}.{STREAM,CONSUMER}.<what>.<stream>...
  bool may_advisory(const Tokens& tokens) const {
    return tokens.size() >= 6 && tokens[1] == "EVENT" &&
           (tokens[2] == "ADVISORY" || tokens[2] == "METRIC") &&
           (tokens[3] == "STREAM" || tokens[3] == "CONSUMER") && !is_wildcard(tokens[4]) &&
           may_read_stream(tokens[5]);
  }

  // What lists all streams is not for a subject to decide: see the gate. What concerns the cluster
  // and restoring, whose data hold a configuration, are the operator's.
  bool may_api(const Tokens& tokens) const {
    const size_t count = tokens.size();
    const std::string_view group = tokens[2];
    const std::string_view verb = count > 3 ? tokens[3] : std::string_view();
    const auto is_one_of = [verb](std::initializer_list<std::string_view> verbs) {
      return std::find(verbs.begin(), verbs.end(), verb) != verbs.end();
    };
    if (group == "INFO") return count == 3;
    if (group == "STREAM") {
      if (verb == "INFO") return count == 5 && may_read_stream(tokens[4]);
      if (is_one_of({"CREATE", "UPDATE", "DELETE", "PURGE", "SNAPSHOT"})) {
        return count == 5 && may_use_stream(tokens[4]);
      }
      if (verb != "MSG" || count != 6) return false;
      return tokens[4] == "GET" ? may_read_stream(tokens[5])
                                : tokens[4] == "DELETE" && may_use_stream(tokens[5]);
    }
    if (group == "CONSUMER") {
      if (verb == "CREATE") return count >= 5 && may_read_stream(tokens[4]);
      if (verb == "DURABLE") return count == 7 && tokens[4] == "CREATE" && may_read_stream(tokens[5]);
      if (is_one_of({"NAMES", "LIST"})) return count == 5 && may_read_stream(tokens[4]);
      if (is_one_of({"INFO", "DELETE", "PAUSE", "UNPIN", "RESET"})) {
        return count == 6 && may_read_stream(tokens[4]);
      }
      return verb == "MSG" && count == 7 && tokens[4] == "NEXT" && may_read_stream(tokens[5]);
    }
    return group == "DIRECT" && verb == "GET" && count >= 5 && may_read_stream(tokens[4]);
  }

  const Names names_;
  const Grants grants_;
  const std::shared_ptr<const StreamContents> streams_;
  NamespaceRecord own_;
  bool has_others_ = false;
  Words claimed_subjects_;
  Words claimed_buckets_;
  Words claimed_object_buckets_;
  Words claimed_streams_;
};

}  // namespace

std::shared_ptr<const Access> Access::make(Names names, const Grants& grants,
                                           const Namespaces& all) {
  return std::make_shared<AccessRules>(std::move(names), grants, all);
}

}  // namespace brokkr::workload
