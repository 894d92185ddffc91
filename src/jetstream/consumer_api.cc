#include "jetstream/consumer_api.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "jetstream/consumer_rules.h"
#include "jetstream/go_json.h"
#include "jetstream/go_syntax.h"
#include "jetstream/stream_consumer.h"
#include "protocol/headers.h"
#include "store/store.h"
#include "subject/subject.h"

namespace brokkr::jetstream {
namespace {

constexpr const char* kCreateResponse = "consumer_create_response";
constexpr uint64_t kNamesLimit = 1024;
constexpr uint64_t kListLimit = 256;
constexpr uint16_t kStreamNotFound = 10059;
constexpr uint16_t kConsumerNotFound = 10014;
constexpr uint16_t kApiLevelRequired = 10185;

ConsumerLimitsGiven limits_of(Account& account) {
  const JetStream::Options& options = account.jetstream().options();
  return {options.max_ack_pending, options.max_request_batch, account.limits().max_ack_pending};
}

bool needs_newer_level(const ApiRequest& request) {
  if (request.headers().empty()) return false;
  const auto headers = protocol::Headers::parse(request.headers());
  const auto level = headers ? headers->find("Nats-Required-Api-Level") : std::nullopt;
  if (!level || trim(*level).empty()) return false;
  const std::optional<int64_t> number = parse_int(trim(*level));
  return !number || *number > kApiLevel;
}

// The API's consumers are all of this kind.
StreamConsumer* find_consumer(Stream& stream, std::string_view name) {
  return static_cast<StreamConsumer*>(stream.find_consumer(name));
}

std::string generate_name(Stream& stream) {
  for (;;) {
    std::string name = name_hash(stream.account().jetstream().next_id());
    if (stream.find_consumer(name) == nullptr) return name;
  }
}

bool collides(const std::string& filter, const ConsumerConfig& other) {
  const std::vector<std::string> others = other.filters();
  return others.empty() || std::any_of(others.begin(), others.end(), [&](const std::string& each) {
           return subject::is_subset(filter, each) || subject::is_subset(each, filter);
         });
}

// Whether no other consumer of a work queue may get what the filters choose.
bool is_partition_unique(Stream& stream, std::string_view name, const std::vector<std::string>& filters) {
  for (const std::string& filter : filters) {
    for (const auto& [other_name, other] : stream.consumers()) {
      if (other_name != name && !other->config().direct && collides(filter, other->config())) return false;
    }
  }
  return true;
}

// Those that count towards limits: not the server's own.
int64_t count_consumers(Stream& stream) {
  int64_t count = 0;
  for (const auto& [name, consumer] : stream.consumers()) count += consumer->config().direct ? 0 : 1;
  return count;
}

ApiStatus check_work_queue(Stream& stream, const ConsumerConfig& config, std::string_view name) {
  if (stream.config().retention != Retention::WorkQueue || config.direct || config.sourcing) return {};
  if (config.ack_policy != AckPolicy::Explicit && config.ack_policy != AckPolicy::FlowControl) {
    return api_error(10098);
  }
  if (config.deliver_policy != DeliverPolicy::All) return api_error(10101);
  if (count_consumers(stream) == 0) return {};
  const std::vector<std::string> filters = config.filters();
  if (filters.empty()) return api_error(10099);
  if (!is_partition_unique(stream, name, filters)) return api_error(10100);
  return {};
}

ApiStatus check_consumer_count(Stream& stream) {
  int64_t most = stream.config().max_consumers;
  const int64_t of_account = stream.account().limits().max_consumers;
  if (most <= 0 || (of_account > 0 && of_account < most)) most = of_account;
  if (most > 0 && count_consumers(stream) >= most) return api_error(10026);
  return {};
}

// The metadata the server keeps must not make two configurations different.
bool is_same(const ConsumerConfig& config, const ConsumerConfig& existing) {
  ConsumerConfig asked = config;
  set_kept_metadata(asked.metadata, required_api_level(existing));
  return asked == existing;
}

ApiResult<StreamConsumer*> update_consumer(Stream& stream, StreamConsumer& consumer,
                                           ConsumerConfig config, ConsumerAction action) {
  // An ephemeral one shows the time it may be idle as if it had been asked for.
  if (!config.is_durable() && config.inactive_threshold == Duration() &&
      !consumer.config().is_durable()) {
    config.inactive_threshold = consumer.config().inactive_threshold;
  }
  if (action == ConsumerAction::Create && !is_same(config, consumer.config())) return api_error(10148);
  if (stream.config().retention == Retention::WorkQueue &&
      !is_partition_unique(stream, consumer.name(), config.filters())) {
    return api_error(10100);
  }
  if (ApiStatus status = check_consumer_update(consumer.config(), config, consumer.is_bound());
      !status) {
    return status.error();
  }
  if (config != consumer.config()) consumer.update(std::move(config));
  return &consumer;
}

ApiResult<StreamConsumer*> make_consumer(Stream& stream, ConsumerConfig config, bool is_pedantic,
                                         ConsumerAction action) {
  const ConsumerLimitsGiven limits = limits_of(stream.account());
  ApiStatus status = set_consumer_defaults(config, stream.config(), limits, is_pedantic);
  if (status) status = check_consumer_config(config, stream.config(), limits);
  if (!status) return status.error();
  std::string name = config.is_durable() ? config.durable_name : config.name;
  if (StreamConsumer* existing = name.empty() ? nullptr : find_consumer(stream, name)) {
    return update_consumer(stream, *existing, std::move(config), action);
  }
  if (action == ConsumerAction::Update) return api_error(10149);
  status = check_consumer_count(stream);
  if (status) status = check_work_queue(stream, config, name);
  if (!status) return status.error();
  if (name.size() > kNameBytesMax) return api_error(10102, std::to_string(kNameBytesMax));
  if (name.empty()) name = generate_name(stream);
  if (config.name.empty()) config.name = config.durable_name;
  const bool in_memory = config.mem_storage || config.direct || stream.config().storage == StorageType::Memory;
  store::ConsumerStore& state = stream.messages().put_consumer(name, {}, in_memory);
  auto made = std::make_unique<StreamConsumer>(stream, std::move(config), state,
                                               stream.account().jetstream().now(), true);
  StreamConsumer* const consumer = made.get();
  stream.add_consumer(std::move(made));
  consumer->advise_created(true);
  return consumer;
}

// --- create

// What the subject of a request to create says.
struct CreateSubject {
  std::string_view stream;
  std::string_view consumer;
  std::string_view filter;
  bool is_legacy_ephemeral = false;
  bool is_legacy_durable = false;
};

ApiStatus check_create_subject(const CreateSubject& subject, ConsumerConfig& config) {
  if (subject.consumer.find_first_of("\\/") != std::string_view::npos) return api_error(10127);
  if (subject.is_legacy_durable) {
    if (!config.is_durable()) return api_error(10018);
    if (subject.consumer != config.durable_name) return api_error(10017);
    config.name = subject.consumer;
  } else if (!subject.is_legacy_ephemeral) {
    if (config.is_durable() && subject.consumer != config.durable_name) return api_error(10017);
    config.name = subject.consumer;
  } else if (config.is_durable()) {
    return api_error(10020);
  }
  if (!subject.filter.empty() && !config.filter_subjects.empty()) return api_error(10137);
  if (!subject.filter.empty() && config.filter_subject != subject.filter) return api_error(10131);
  if (config.num_replicas > 1) return api_error(10074);
  return {};
}

ApiResult<StreamConsumer*> create(Account& account, const ApiRequest& request,
                                  const CreateSubject& subject) {
  ApiResult<json::Value> body = request.parse_body();
  if (!body) return body.error();
  ApiResult<ConsumerCreateRequest> parsed =
      parse_consumer_create_request(*body, account.jetstream().options().strict);
  if (!parsed) return parsed.error();
  if (needs_newer_level(request)) return api_error(kApiLevelRequired);
  if (subject.stream != parsed->stream_name) return api_error(10056);
  ConsumerConfig& config = parsed->config;
  if (ApiStatus status = check_create_subject(subject, config); !status) return status.error();
  Stream* stream = account.find_stream(subject.stream);
  if (stream == nullptr) return api_error(kStreamNotFound);
  const std::string_view name = subject.is_legacy_ephemeral ? std::string_view(config.name) : subject.consumer;
  if (StreamConsumer* existing = name.empty() ? nullptr : find_consumer(*stream, name)) {
    config.pause_until = existing->config().pause_until;  // only a pause request changes it
  }
  set_kept_metadata(config.metadata, required_api_level(config));
  return make_consumer(*stream, std::move(config), parsed->pedantic, parsed->action);
}

void handle_create(Account& account, const ApiRequest& request) {
  CreateSubject subject;
  const size_t tokens = request.token_count();
  if (request.token(1) == "DURABLE") {
    subject.is_legacy_durable = true;
    subject.stream = request.token(3);
    subject.consumer = request.token(4);
  } else {
    subject.is_legacy_ephemeral = tokens == 3;
    subject.stream = request.token(2);
    subject.consumer = request.token(3);
    subject.filter = request.tail(4);
  }
  ApiResult<StreamConsumer*> made = create(account, request, subject);
  if (!made) return request.respond_error(kCreateResponse, made.error());
  StreamConsumer& consumer = **made;
  request.respond(kCreateResponse, [&](json::Writer& out) { consumer.write_info(out); });
  const auto& until = consumer.config().pause_until;
  if (until && *until > account.jetstream().now()) consumer.advise_pause();
}

// --- the others

// The stream and consumer that tokens 2 and 3 name.
struct Found {
  Stream* stream = nullptr;
  StreamConsumer* consumer = nullptr;
};

ApiResult<Found> find(Account& account, const ApiRequest& request) {
  Found found;
  found.stream = account.find_stream(request.token(2));
  if (found.stream == nullptr) return api_error(kStreamNotFound);
  found.consumer = find_consumer(*found.stream, request.token(3));
  if (found.consumer == nullptr) return api_error(kConsumerNotFound);
  return found;
}

ApiResult<Found> find_for_empty_request(Account& account, const ApiRequest& request) {
  if (ApiStatus status = request.expect_empty_body(); !status) return status.error();
  if (needs_newer_level(request)) return api_error(kApiLevelRequired);
  return find(account, request);
}

void handle_info(Account& account, const ApiRequest& request) {
  constexpr const char* kType = "consumer_info_response";
  ApiResult<Found> found = find_for_empty_request(account, request);
  if (!found) return request.respond_error(kType, found.error());
  request.respond(kType, [&](json::Writer& out) { found->consumer->write_info(out); });
}

void handle_delete(Account& account, const ApiRequest& request) {
  constexpr const char* kType = "consumer_delete_response";
  ApiResult<Found> found = find_for_empty_request(account, request);
  if (!found) return request.respond_error(kType, found.error());
  found->stream->remove_consumer(*found->consumer, Consumer::End::Deleted);
  request.respond(kType, [](json::Writer& out) { out.field("success", true); });
}

ApiResult<uint64_t> read_offset(const ApiRequest& request, bool is_strict) {
  ApiResult<json::Value> body = request.parse_optional_body();
  if (!body) return body.error();
  int64_t offset = 0;
  StructReader reader(is_strict);
  reader.read(*body, "JSApiConsumersRequest", [&](JsonMember& in) { return in("offset", offset, "int"); });
  if (ApiStatus status = reader.status(); !status) return status.error();
  return static_cast<uint64_t>(std::max<int64_t>(offset, 0));
}

void handle_list(Account& account, const ApiRequest& request, bool names_only) {
  const char* type = names_only ? "consumer_names_response" : "consumer_list_response";
  const uint64_t limit = names_only ? kNamesLimit : kListLimit;
  const auto empty = [](json::Writer& out) {
    out.field("total", 0).field("offset", 0).field("limit", 0);
    out.key("consumers").begin_array().end_array();
  };
  if (needs_newer_level(request)) return request.respond_error(type, api_error(kApiLevelRequired), empty);
  ApiResult<uint64_t> asked = read_offset(request, account.jetstream().options().strict);
  if (!asked) return request.respond_error(type, asked.error(), empty);
  Stream* stream = account.find_stream(request.token(2));
  if (stream == nullptr) return request.respond_error(type, api_error(kStreamNotFound), empty);
  const auto total = static_cast<uint64_t>(count_consumers(*stream));
  const uint64_t offset = std::min(*asked, total);
  request.respond(type, [&](json::Writer& out) {
    out.field("total", total).field("offset", offset).field("limit", limit);
    out.key("consumers").begin_array();
    uint64_t index = 0;
    for (const auto& [name, consumer] : stream->consumers()) {
      if (consumer->config().direct || index++ < offset) continue;
      if (index > offset + limit) break;
      if (names_only) {
        out.string(name);
      } else {
        out.begin_object();
        static_cast<StreamConsumer&>(*consumer).write_listed(out);
        out.end_object();
      }
    }
    out.end_array();
  });
}

void handle_pause(Account& account, const ApiRequest& request) {
  constexpr const char* kType = "consumer_pause_response";
  constexpr const char* kNoTime = "0001-01-01T00:00:00Z";
  const auto fail = [&](const ApiError& error) {
    request.respond_error(kType, error, [&](json::Writer& out) {
      out.field("paused", false).field("pause_until", kNoTime);
    });
  };
  ApiResult<json::Value> body = request.parse_optional_body();
  if (!body) return fail(body.error());
  std::optional<WallTime> until;
  StructReader reader(account.jetstream().options().strict);
  reader.read(*body, "JSApiConsumerPauseRequest", [&](JsonMember& in) { return in("pause_until", until); });
  if (ApiStatus status = reader.status(); !status) return fail(status.error());
  if (needs_newer_level(request)) return fail(api_error(kApiLevelRequired));
  ApiResult<Found> found = find(account, request);
  if (!found) return fail(found.error());
  StreamConsumer& consumer = *found->consumer;
  ConsumerConfig config = consumer.config();
  config.pause_until = until;
  set_kept_metadata(config.metadata, required_api_level(config));
  if (config != consumer.config()) consumer.update(std::move(config));
  const WallTime now = account.jetstream().now();
  request.respond(kType, [&](json::Writer& out) {
    const bool is_paused = until && *until > now;
    out.field("paused", is_paused);
    out.field("pause_until", until ? format_rfc3339(*until) : std::string(kNoTime));
    if (is_paused) out.field("pause_remaining", static_cast<int64_t>((*until - now).count()));
  });
}

void handle_unpin(Account& account, const ApiRequest& request) {
  constexpr const char* kType = "consumer_unpin_response";
  const auto fail = [&](const ApiError& error) { request.respond_error(kType, error); };
  if (needs_newer_level(request)) return fail(api_error(kApiLevelRequired));
  if (request.body().empty()) return fail(api_error(10025, "unexpected end of JSON input"));
  ApiResult<json::Value> body = request.parse_body();
  if (!body) return fail(body.error());
  std::string group;
  StructReader reader(false);
  reader.read(*body, "JSApiConsumerUnpinRequest", [&](JsonMember& in) { return in("group", group); });
  if (ApiStatus status = reader.status(); !status) return fail(status.error());
  if (group.empty()) return fail(api_error(10025, "consumer group not specified"));
  if (!is_valid_group_name(group)) return fail(api_error(10162));
  ApiResult<Found> found = find(account, request);
  if (!found) return fail(found.error());
  const auto& groups = found->consumer->config().priority_groups;
  if (std::find(groups.begin(), groups.end(), group) == groups.end()) return fail(api_error(10160));
  found->consumer->unpin(group);
  request.respond(kType, [](json::Writer&) {});
}

void handle_reset(Account& account, const ApiRequest& request) {
  constexpr const char* kType = "consumer_reset_response";
  const auto fail = [&](const ApiError& error) {
    request.respond_error(kType, error, [](json::Writer& out) { out.field("reset_seq", 0); });
  };
  ApiResult<Found> found = find(account, request);
  if (!found) return;  // consumers answer this themselves, so nobody does
  if (needs_newer_level(request)) return fail(api_error(kApiLevelRequired));
  Result<json::Value> body = json::Value();
  if (!request.body().empty()) body = json::parse(request.body());
  if (!body) return fail(api_error(10025, find_go_unmarshal_error(request.body())));
  uint64_t seq = 0;
  StructReader reader(false);
  reader.read(*body, "JSApiConsumerResetRequest", [&](JsonMember& in) { return in("seq", seq); });
  if (ApiStatus status = reader.status(); !status) return fail(status.error());
  ApiResult<uint64_t> start = found->consumer->reset(seq);
  if (!start) return fail(start.error());
  request.respond(kType, [&](json::Writer& out) {
    found->consumer->write_info(out);
    out.field("reset_seq", *start);
  });
}

}  // namespace

void handle_consumer_request(Account& account, const ApiRequest& request) {
  const std::string_view verb = request.token(1);
  const size_t tokens = request.token_count();
  if ((verb == "CREATE" && tokens >= 3) || (verb == "DURABLE" && tokens == 5)) {
    return handle_create(account, request);
  }
  if (verb == "DURABLE") return;  // nobody listens there
  if (tokens == 3 && (verb == "NAMES" || verb == "LIST")) {
    return handle_list(account, request, verb == "NAMES");
  }
  if (verb == "MSG") return;  // consumers subscribe to it themselves
  if (tokens == 4) {
    if (verb == "INFO") return handle_info(account, request);
    if (verb == "DELETE") return handle_delete(account, request);
    if (verb == "PAUSE") return handle_pause(account, request);
    if (verb == "UNPIN") return handle_unpin(account, request);
    if (verb == "RESET") return handle_reset(account, request);
  }
  request.respond_error("system_response", api_error(10003));
}

std::unique_ptr<Consumer> restore_consumer(Stream& stream, store::ConsumerStore& state) {
  const auto give_up = [&](const std::string& why) {
    stream.account().jetstream().log().error("consumer " + stream.name() + " > " + state.name() +
                                             ": " + why);
    return nullptr;
  };
  const Result<json::Value> saved = json::parse(state.config());
  if (!saved) return give_up("configuration is no JSON: " + saved.error().text);
  const json::Value* object = saved->find("config");
  if (object == nullptr) return give_up("configuration is missing");
  ApiResult<ConsumerConfig> config = parse_consumer_config(*object, false);
  if (!config) return give_up(config.error().description);
  WallTime created;
  if (!parse_rfc3339(saved->get_string("created"), created)) created = stream.created();
  return std::make_unique<StreamConsumer>(stream, std::move(*config), state, created, false);
}

}  // namespace brokkr::jetstream
