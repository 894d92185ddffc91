#pragma once

#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "workload/desired.h"

namespace brokkr::workload {

// What a stream at the server collects.
struct StreamContent {
  Words subjects;
  Words sources;            // the streams it sources or mirrors
  bool is_foreign = false;  // one of them is of another account or domain
  bool operator==(const StreamContent&) const = default;
};
using StreamContents = std::map<std::string, StreamContent, std::less<>>;

// All that decides what namespaces may: their records, and what the streams there are collect.
struct Namespaces {
  Namespaces() = default;
  Namespaces(std::vector<NamespaceRecord> all) : records(std::move(all)) {}
  Namespaces(std::initializer_list<NamespaceRecord> all) : records(all) {}

  std::vector<NamespaceRecord> records;
  std::shared_ptr<const StreamContents> streams;  // null: not known, streams are judged by name alone
};

// What one workload may do, decided once from its grants, its namespace and the other namespaces, and
// asked by host services and by the gate alike: there is no second opinion. Immutable; shared.
//
// Never allowed: $SYS, $NEX and what else servers keep to themselves, the control plane's buckets and
// streams, other namespaces' buckets and streams, and patterns that reach into any of these.
// $JS.API requests are allowed only as far as they name a stream, bucket or consumer that is; what
// their bodies name is checked by api_body.h. Names at the server with "__" in them belong to the
// namespace before the last one; a stream or bucket that collects what its namespace may not hear is
// not its own all the same.
class Access {
 public:
  struct Names {
    std::string ns;
    std::string workload;
  };
  // `all`: every namespace there is; the one of `names.ns` among them counts as its own. Without declared
  // grants it is what the namespace may, which triggers are held against as well.
  static std::shared_ptr<const Access> make(Names names, const Grants& grants,
                                            const Namespaces& all);
  virtual ~Access() = default;

  virtual const Names& names() const = 0;
  // `subject` is literal, or a pattern of which every subject must be allowed. Never of an inbox.
  virtual bool may_publish(std::string_view subject) const = 0;
  // Where a request it was given wants its answer: not what is the server's or another namespace's, or
  // whoever asks could make the workload speak there in its stead.
  virtual bool may_answer(std::string_view reply) const = 0;
  // `pattern` may have wildcards: every subject it matches must be allowed. Of inboxes only those
  // whose second token is known.
  virtual bool may_subscribe(std::string_view pattern) const = 0;
  // The bucket by the name the workload uses.
  virtual bool may_use_key_value(std::string_view bucket) const = 0;
  virtual bool may_use_object_store(std::string_view bucket) const = 0;
  // The stream by its name at the server, "KV_" and "OBJ_" ones of buckets included. A namespace other
  // than "default" has those named "<ns>__...". It may make, change and remove it.
  virtual bool may_use_stream(std::string_view stream) const = 0;
  // Or it may at least consume it: whatever its name, all it collects is the namespace's own by its record.
  virtual bool may_read_stream(std::string_view stream) const = 0;
  // A bucket's name at the server: the same in namespace "default", "<ns>__<bucket>" in others unless
  // the namespace's record lists it.
  virtual std::string key_value_name(std::string_view bucket) const = 0;
  virtual std::string object_store_name(std::string_view bucket) const = 0;
};

}  // namespace brokkr::workload
