#include "jetstream/stream_rules.h"

#include <algorithm>
#include <set>

#include "jetstream/account.h"
#include "jetstream/jetstream.h"
#include "subject/subject.h"
#include "subject/transform.h"

namespace brokkr::jetstream {
namespace {

constexpr size_t kNameBytesMax = 255;
constexpr size_t kDescriptionBytesMax = 4096;
constexpr size_t kMetadataBytesMax = 128 << 10;
constexpr int kReplicasMax = 5;
constexpr Duration kShortest = std::chrono::milliseconds(100);
constexpr Duration kDuplicateWindow = std::chrono::minutes(2);
constexpr const char* kBadSubject = "invalid subject";

constexpr const char* kRequiredLevel = "_nats.req.level";
constexpr const char* kServerVersion = "_nats.ver";
constexpr const char* kServerLevel = "_nats.level";

ApiError invalid(std::string_view text) {
  return api_error(10052, text);
}
ApiError pedantic(std::string_view text) {
  return api_error(10157, text);
}

ApiStatus check_texts(const StreamConfig& config) {
  if (!is_valid_asset_name(config.name)) {
    return invalid(R"(stream name is required and can not contain '.', '*', '>', '\', '/')");
  }
  if (config.name.size() > kNameBytesMax) {
    return invalid("stream name is too long, maximum allowed is 255");
  }
  if (config.description.size() > kDescriptionBytesMax) {
    return invalid("stream description is too long, maximum allowed is 4096");
  }
  size_t bytes = 0;
  for (const auto& [key, value] : config.metadata) bytes += key.size() + value.size();
  if (bytes > kMetadataBytesMax) {
    return invalid("stream metadata exceeds maximum size of 131072 bytes");
  }
  return {};
}

template <typename T>
ApiStatus normalise_limit(T& limit, const char* name, bool is_pedantic) {
  if (limit < -1 && is_pedantic) return pedantic(std::string(name) + " must be set to -1");
  if (limit <= 0) limit = -1;
  return {};
}

ApiStatus check_limits(StreamConfig& config, bool is_pedantic) {
  if (config.num_replicas == 0) config.num_replicas = 1;
  if (config.num_replicas > kReplicasMax) return invalid("maximum replicas is 5");
  if (config.num_replicas < 0) return api_error(10133);
  if (auto s = normalise_limit(config.max_msgs, "max_msgs", is_pedantic); !s) return s;
  if (auto s = normalise_limit(config.max_msgs_per_subject, "max_msgs_per_subject", is_pedantic); !s) {
    return s;
  }
  if (auto s = normalise_limit(config.max_bytes, "max_bytes", is_pedantic); !s) return s;
  if (auto s = normalise_limit(config.max_msg_size, "max_msg_size", is_pedantic); !s) return s;
  if (auto s = normalise_limit(config.max_consumers, "max_consumers", is_pedantic); !s) return s;
  if (config.max_age < Duration::zero()) return invalid("max age can not be negative");
  if (config.max_age != Duration::zero() && config.max_age < kShortest) {
    return invalid("max age needs to be >= 100ms");
  }
  return {};
}

ApiStatus check_duplicate_window(StreamConfig& config, Duration server_limit, bool is_pedantic) {
  const bool is_copy = config.mirror.has_value() || !config.sources.empty();
  const bool has_limit = server_limit > Duration::zero();
  if (config.duplicate_window == Duration::zero() && !is_copy) {
    Duration window = kDuplicateWindow;
    if (has_limit && window > server_limit) {
      if (is_pedantic) return pedantic("duplicate window limits are higher than current limits");
      window = server_limit;
    }
    if (config.max_age != Duration::zero() && config.max_age < window) {
      if (is_pedantic) return pedantic("duplicate window cannot be bigger than max age");
      window = config.max_age;
    }
    config.duplicate_window = window;
  }
  if (config.duplicate_window < Duration::zero()) {
    return invalid("duplicates window can not be negative");
  }
  if (config.max_age != Duration::zero() && config.duplicate_window > config.max_age) {
    return invalid("duplicates window can not be larger then max age");
  }
  if (has_limit && config.duplicate_window > server_limit) {
    return invalid("duplicates window can not be larger then server limit of " +
                   format_go_duration(server_limit));
  }
  if (config.duplicate_window > Duration::zero() && config.duplicate_window < kShortest) {
    return invalid("duplicates window needs to be >= 100ms");
  }
  return {};
}

ApiStatus check_discard_per_subject(const StreamConfig& config) {
  if (!config.discard_new_per_subject) return {};
  if (config.discard != Discard::New) {
    return invalid("discard new per subject requires discard new policy to be set");
  }
  if (config.max_msgs_per_subject <= 0) {
    return invalid("discard new per subject requires max msgs per subject > 0");
  }
  return {};
}

ApiStatus check_counter(const StreamConfig& config) {
  if (!config.allow_msg_counter) return {};
  if (config.discard == Discard::New) return invalid("counter stream cannot use discard new");
  if (config.allow_msg_ttl) return invalid("counter stream cannot use message TTLs");
  if (config.allow_msg_schedules) return invalid("counter stream cannot use message schedules");
  if (config.retention != Retention::Limits) {
    return invalid("counter stream can only use limits retention");
  }
  return {};
}

void allow_rollup(StreamConfig& config) {
  config.allow_rollup_hdrs = true;
  config.deny_purge = false;
}

ApiStatus check_markers_and_schedules(StreamConfig& config, bool is_pedantic) {
  const Duration ttl = config.subject_delete_marker_ttl;
  if (ttl < Duration::zero()) return invalid("subject delete marker TTL must not be negative");
  if (ttl > Duration::zero()) {
    if (ttl < std::chrono::seconds(1)) {
      return invalid("subject delete marker TTL must be at least 1 second");
    }
    if (!config.allow_msg_ttl && is_pedantic) {
      return invalid("subject delete marker cannot be set if message TTLs are disabled");
    }
    config.allow_msg_ttl = true;
    if (!config.allow_rollup_hdrs) {
      if (is_pedantic) {
        return invalid("subject delete marker cannot be set if roll-ups are disabled");
      }
      allow_rollup(config);
    }
  }
  if (!config.allow_msg_schedules) return {};
  if (config.discard == Discard::New) return invalid("message scheduling cannot use discard new");
  if (config.allow_rollup_hdrs) return {};
  if (is_pedantic) return invalid("message scheduling cannot be set if roll-ups are disabled");
  allow_rollup(config);
  return {};
}

ApiStatus check_persist_mode(const StreamConfig& config) {
  if (config.persist_mode != PersistMode::Async) return {};
  if (config.storage != StorageType::File) {
    return invalid("async persist mode is only supported on file storage");
  }
  if (config.num_replicas > 1) {
    return invalid("async persist mode is not supported on replicated streams");
  }
  if (config.allow_atomic) {
    return invalid("async persist mode is not supported with atomic batch publish");
  }
  return {};
}

// The reason after "invalid mapping destination: " and the like, as Go has it.
ApiStatus check_mapping(const SubjectTransformConfig& transform, uint16_t bad_source,
                        uint16_t bad_destination) {
  if (!transform.source.empty() && !subject::is_valid(transform.source)) {
    return api_error(bad_source, kBadSubject + (" " + transform.source));
  }
  if (transform.destination.empty()) return {};
  const auto made = subject::Transform::make(transform.source, transform.destination);
  if (!made) return api_error(bad_destination, made.error().text);
  return {};
}

// Sources of transforms; an empty one is like no other.
bool do_overlap(const SubjectTransformConfig& a, const SubjectTransformConfig& b,
                bool (*relation)(std::string_view, std::string_view)) {
  if (a.source.empty() || b.source.empty()) return a.source == b.source;
  return relation(a.source, b.source);
}

// The prefixes and subjects that come with what a stream copies from.
struct Origins {
  std::vector<std::string> subjects;
  std::vector<std::string> deliver_prefixes;
  std::vector<std::string> api_prefixes;

  void add(const ExternalStream& external) {
    if (!external.deliver.empty()) deliver_prefixes.push_back(external.deliver);
    if (!external.api.empty()) api_prefixes.push_back(external.api);
  }
  void add(const StreamConfig& config) {
    subjects.insert(subjects.end(), config.subjects.begin(), config.subjects.end());
  }
};

bool is_smaller(int32_t limit, int32_t other) {
  return limit > 0 && other > 0 && limit < other;
}

ApiStatus check_mirror_features(const StreamConfig& config) {
  if (config.first_seq > 0) return api_error(10143);
  if (!config.subjects.empty()) return api_error(10034);
  if (!config.sources.empty()) return api_error(10031);
  if (config.allow_msg_counter) return api_error(10173);
  if (config.allow_atomic) return api_error(10198);
  if (config.allow_msg_schedules) return api_error(10186);
  if (!config.mirror->filter_subject.empty() && !config.mirror->subject_transforms.empty()) {
    return api_error(10150);
  }
  if (config.subject_delete_marker_ttl > Duration::zero()) {
    return invalid("subject delete markers forbidden on mirrors");
  }
  const auto& transforms = config.mirror->subject_transforms;
  for (const SubjectTransformConfig& each : transforms) {
    if (auto status = check_mapping(each, 10151, 10154); !status) return status;
    for (const SubjectTransformConfig& other : transforms) {
      if (&other != &each && do_overlap(each, other, subject::collide)) return api_error(10152);
    }
  }
  return {};
}

ApiStatus check_mirror(StreamConfig& config, Account& account, bool is_pedantic, Origins& origins) {
  if (!config.mirror) return {};
  if (auto status = check_mirror_features(config); !status) return status;
  if (config.mirror->external) {
    origins.add(*config.mirror->external);
    return {};
  }
  if (!is_valid_asset_name(config.mirror->name)) return api_error(10142);
  Stream* const origin = account.find_stream(config.mirror->name);
  if (origin == nullptr) return {};
  origins.add(origin->config());
  if (is_smaller(config.max_msg_size, origin->config().max_msg_size)) return api_error(10030);
  if (is_pedantic && config.mirror_direct != origin->config().allow_direct) {
    return pedantic("origin stream has direct get set, mirror has it disabled");
  }
  config.mirror_direct = origin->config().allow_direct;
  return {};
}

// What tells two sources apart.
std::string identity_of(const StreamSource& source) {
  std::string key = source.name + (source.external ? "\n" + source.external->api : "\n");
  key += "\n" + source.filter_subject;
  for (const SubjectTransformConfig& each : source.subject_transforms) {
    key += "\n" + each.source + "\n" + each.destination;
  }
  return key;
}

ApiStatus check_source(const StreamSource& source) {
  if (!source.filter_subject.empty() && !source.subject_transforms.empty()) return api_error(10144);
  for (const SubjectTransformConfig& each : source.subject_transforms) {
    if (auto status = check_mapping(each, 10145, 10146); !status) return status;
  }
  for (const SubjectTransformConfig& each : source.subject_transforms) {
    for (const SubjectTransformConfig& other : source.subject_transforms) {
      if (&other != &each && do_overlap(each, other, subject::is_subset)) return api_error(10147);
    }
  }
  return {};
}

ApiStatus check_sources(const StreamConfig& config, Account& account, Origins& origins) {
  if (!config.sources.empty() && config.allow_msg_schedules) return api_error(10187);
  std::set<std::string> seen;
  for (const StreamSource& source : config.sources) {
    if (!is_valid_asset_name(source.name)) return api_error(10141);
    if (!seen.insert(identity_of(source)).second) return api_error(10140);
    if (auto status = check_source(source); !status) return status;
    if (source.external) {
      origins.add(*source.external);
      continue;
    }
    Stream* const origin = account.find_stream(source.name);
    if (origin == nullptr) continue;
    origins.add(origin->config());
    if (is_smaller(config.max_msg_size, origin->config().max_msg_size)) return api_error(10046);
  }
  return {};
}

ApiStatus check_prefixes(const Origins& origins) {
  for (const std::string& prefix : origins.deliver_prefixes) {
    if (!subject::is_valid_literal(prefix)) return api_error(10024, prefix);
    for (const std::string& each : origins.subjects) {
      if (subject::collide(each, prefix + "." + each)) return api_error(10022, prefix, each);
    }
  }
  for (const std::string& prefix : origins.api_prefixes) {
    if (!subject::is_valid_literal(prefix)) {
      return invalid("stream external api prefix \"" + prefix +
                     "\" must be a valid subject without wildcards");
    }
    if (subject::collide(prefix, "$JS.API")) return api_error(10021, prefix, "$JS.API");
  }
  return {};
}

// Whether messages would come back to where they came from.
bool forms_cycle(const StreamConfig& config, Account& account) {
  std::vector<const StreamConfig*> to_visit = {&config};
  std::set<std::string> visited;
  const auto is_reached = [](const StreamConfig& by, const std::string& filter) {
    if (filter.empty()) return true;
    return std::any_of(by.subjects.begin(), by.subjects.end(), [&](const std::string& each) {
      return subject::collide(each, filter);
    });
  };
  for (size_t i = 0; i < to_visit.size(); ++i) {
    const StreamConfig& at = *to_visit[i];
    visited.insert(at.name);
    const auto go_to = [&](const std::string& name) {
      Stream* const next = account.find_stream(name);
      if (next != nullptr && to_visit.size() < 10'000) to_visit.push_back(&next->config());
    };
    for (const StreamSource& source : at.sources) {
      if (source.external) continue;
      if (!visited.contains(source.name)) {
        go_to(source.name);
      } else if (is_reached(at, source.filter_subject)) {
        return true;
      }
    }
    if (!at.mirror || at.mirror->external) continue;
    if (visited.contains(at.mirror->name)) return true;
    go_to(at.mirror->name);
  }
  return false;
}

ApiStatus check_subject(const StreamConfig& config, size_t index) {
  const std::string& each = config.subjects[index];
  if (!subject::is_valid(each)) return invalid(kBadSubject);
  const auto first = config.subjects.begin();
  if (std::find(first, first + static_cast<ptrdiff_t>(index), each) !=
      first + static_cast<ptrdiff_t>(index)) {
    return invalid("duplicate subjects detected");
  }
  if (each == ">") {
    if (!config.no_ack) return invalid("capturing all subjects requires no-ack to be true");
    if (config.num_replicas != 1) {
      return invalid("capturing all subjects requires replicas of 1");
    }
  }
  if (!config.no_ack) {
    for (const std::string_view space : {"$JS.>", "$JSC.>", "$NRG.>"}) {
      if (subject::collide(each, space) && !subject::is_subset(each, "$JS.EVENT.>")) {
        return invalid("subjects that overlap with jetstream api require no-ack to be true");
      }
    }
    if (subject::collide(each, "$SYS.>") && !subject::is_subset(each, "$SYS.ACCOUNT.>")) {
      return invalid("subjects that overlap with system api require no-ack to be true");
    }
  }
  for (size_t i = index + 1; i < config.subjects.size(); ++i) {
    const std::string& other = config.subjects[i];
    // An invalid one is found in its turn.
    if (subject::is_valid(other) && subject::collide(other, each)) {
      return invalid("subject \"" + each + "\" overlaps with \"" + other + "\"");
    }
  }
  return {};
}

ApiStatus check_subjects(StreamConfig& config) {
  if (config.subjects.empty()) {
    if (!config.mirror && config.sources.empty()) config.subjects.push_back(config.name);
    return {};
  }
  if (config.mirror) return api_error(10034);
  for (size_t i = 0; i < config.subjects.size(); ++i) {
    if (auto status = check_subject(config, i); !status) return status;
  }
  return {};
}

ApiStatus check_max_bytes(const StreamConfig& config, const AccountLimits& limits) {
  if (limits.max_bytes_required && config.max_bytes <= 0) return api_error(10113);
  const int64_t most = config.storage == StorageType::Memory ? limits.memory_max_stream_bytes
                                                             : limits.storage_max_stream_bytes;
  if (most > 0 && config.max_bytes > most) return api_error(10122);
  return {};
}

ApiStatus check_republish(StreamConfig& config, bool is_pedantic) {
  if (!config.republish) return {};
  RepublishConfig& republish = *config.republish;
  if (republish.source.empty()) {
    if (is_pedantic) return pedantic("republish source can not be empty");
    republish.source = ">";
  }
  if (republish.source == ">" && republish.destination == ">" && config.subject_transform &&
      config.subjects.size() == 1 && config.subject_transform->source == config.subjects[0]) {
    if (is_pedantic) return pedantic("implicit republish based on subject transform");
    republish.source = config.subject_transform->destination;
    republish.destination = config.subject_transform->destination;
  }
  for (const std::string& each : config.subjects) {
    if (subject::collide(republish.destination, each)) {
      return invalid("stream configuration for republish destination forms a cycle");
    }
  }
  if (!subject::Transform::make(republish.source, republish.destination)) {
    return invalid("stream configuration for republish with transform from '" + republish.source +
                   "' to '" + republish.destination + "' not valid");
  }
  return {};
}

}  // namespace

const char* const kClusterHint =
    " (this server does not cluster: connect it to a nats-server cluster as a leaf node and use that"
    " cluster's domain, \"$JS.<domain>.API\")";

bool is_valid_asset_name(std::string_view name) {
  return !name.empty() && name.find_first_of(" \t\r\n\f.*>/\\") == std::string_view::npos;
}

ApiStatus check_stream_config(StreamConfig& config, Account& account, bool is_pedantic) {
  if (auto status = check_texts(config); !status) return status;
  if (auto status = check_limits(config, is_pedantic); !status) return status;
  const Duration window_limit = account.jetstream().options().duplicate_window;
  if (auto status = check_duplicate_window(config, window_limit, is_pedantic); !status) return status;
  if (config.deny_purge && config.allow_rollup_hdrs) {
    return invalid("roll-ups require the purge permission");
  }
  if (auto status = check_counter(config); !status) return status;
  if (auto status = check_discard_per_subject(config); !status) return status;
  if (auto status = check_markers_and_schedules(config, is_pedantic); !status) return status;
  if (auto status = check_persist_mode(config); !status) return status;
  Origins origins;
  if (auto status = check_mirror(config, account, is_pedantic, origins); !status) return status;
  if (auto status = check_sources(config, account, origins); !status) return status;
  if (auto status = check_prefixes(origins); !status) return status;
  if (forms_cycle(config, account)) return invalid("detected cycle");
  if (auto status = check_subjects(config); !status) return status;
  if (auto status = check_max_bytes(config, account.limits()); !status) return status;
  if (config.subject_transform) {
    if (auto status = check_mapping(*config.subject_transform, 10155, 10156); !status) return status;
  }
  if (auto status = check_republish(config, is_pedantic); !status) return status;
  if (config.placement == Placement{}) config.placement.reset();
  if (config.placement && !config.placement->preferred.empty()) {
    return invalid("preferred server not permitted in placement");
  }
  return {};
}

ApiStatus check_replicas(const StreamConfig& config) {
  if (config.num_replicas <= 1) return {};
  ApiError error = api_error(10074);
  error.description += kClusterHint;
  return error;
}

ApiStatus check_stream_change(const StreamConfig& old, StreamConfig& config) {
  if (config.name != old.name) return invalid("stream configuration name must match original");
  if (auto status = check_replicas(config); !status) return status;
  if (config.storage != old.storage) {
    return invalid("stream configuration update can not change storage type");
  }
  const bool was_queue = old.retention == Retention::WorkQueue;
  if (config.retention != old.retention && (was_queue || config.retention == Retention::WorkQueue)) {
    return invalid("stream configuration update can not change retention policy to/from workqueue");
  }
  if (old.sealed && !config.sealed) {
    return invalid("stream configuration update can not unseal a sealed stream");
  }
  if (old.deny_delete && !config.deny_delete) {
    return invalid("stream configuration update can not cancel deny message deletes");
  }
  if (old.deny_purge && !config.deny_purge) {
    return invalid("stream configuration update can not cancel deny purge");
  }
  if (config.mirror && config.mirror != old.mirror) return api_error(10055);
  if (old.allow_msg_ttl && !config.allow_msg_ttl) {
    return invalid("message TTL status can not be disabled");
  }
  if (config.allow_msg_counter != old.allow_msg_counter) {
    return invalid("stream configuration update can not change message counter setting");
  }
  if (old.allow_msg_schedules && !config.allow_msg_schedules) {
    return invalid("message schedules can not be disabled");
  }
  if (config.persist_mode != old.persist_mode) {
    return invalid("stream configuration update can not change persist mode");
  }
  if (config.sealed) {
    config.max_age = Duration::zero();
    config.discard = Discard::New;
    config.deny_delete = true;
    config.deny_purge = true;
    config.allow_rollup_hdrs = false;
  }
  return {};
}

ApiStatus check_stream_origins(const StreamConfig& config) {
  // Transforms have been looked at with the rest of the configuration.
  const auto is_bad = [](const StreamSource& source) {
    return source.subject_transforms.empty() && !source.filter_subject.empty() &&
           !subject::is_valid(source.filter_subject);
  };
  if (config.mirror && is_bad(*config.mirror)) {
    return api_error(10049, "subject filter '" + config.mirror->filter_subject +
                                "' for the mirror " + kBadSubject);
  }
  for (const StreamSource& source : config.sources) {
    if (is_bad(source)) {
      return api_error(10049, "subject filter '" + source.filter_subject + "' for the source: " +
                                  kBadSubject);
    }
  }
  return {};
}

// --- versions --------------------------------------------------------------------------------

void set_stream_versions(StreamConfig& config) {
  config.metadata.erase(kServerVersion);
  config.metadata.erase(kServerLevel);
  int level = 0;
  if (config.allow_msg_ttl || config.subject_delete_marker_ttl > Duration::zero()) level = 1;
  if (config.allow_msg_counter || config.allow_atomic || config.allow_msg_schedules ||
      config.persist_mode == PersistMode::Async) {
    level = 2;
  }
  config.metadata[kRequiredLevel] = std::to_string(level);
}

Metadata with_server_versions(Metadata metadata) {
  metadata[kServerVersion] = broker::kServerVersion;
  metadata[kServerLevel] = std::to_string(kApiLevel);
  return metadata;
}

void copy_stream_versions(Metadata& metadata, const Metadata& other) {
  metadata.erase(kServerVersion);
  metadata.erase(kServerLevel);
  if (const auto found = other.find(kRequiredLevel); found != other.end()) {
    metadata[kRequiredLevel] = found->second;
  } else {
    metadata.erase(kRequiredLevel);
  }
}

}  // namespace brokkr::jetstream
