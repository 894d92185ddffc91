#include "jetstream/stream_api.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "jetstream/account.h"
#include "jetstream/jetstream.h"
#include "jetstream/snapshot.h"
#include "jetstream/stream_json.h"
#include "jetstream/stream_rules.h"
#include "subject/subject.h"

namespace brokkr::jetstream {
namespace {

constexpr size_t kNamesMax = 1024;
constexpr size_t kListMax = 256;

// A request for a stream's creation or change: its configuration and "pedantic" side by side.
struct ConfigRequest {
  StreamConfig config;
  bool is_pedantic = false;
  bool names_storage = false;
};

ApiResult<ConfigRequest> parse_config_request(const ApiRequest& request) {
  auto body = request.parse_body();
  if (!body) return body.error();
  ConfigRequest parsed;
  StructReader reader(request.is_strict());
  reader.read(*body, "StreamConfigRequest", [&](JsonMember& member) {
    return member("pedantic", parsed.is_pedantic) ||
           member.embedded("StreamConfig", [&](JsonMember& part) {
             return read_stream_config_member(part, parsed.config);
           });
  });
  if (auto status = reader.status(); !status) return status.error();
  parsed.names_storage = body->find("storage") != nullptr;
  return parsed;
}

// Reads an optional body into fields.
ApiStatus parse_fields(const ApiRequest& request, const char* type, JsonMember::Fields fields,
                       bool is_optional) {
  auto body = is_optional ? request.parse_optional_body() : request.parse_body();
  if (!body) return body.error();
  StructReader reader(request.is_strict());
  reader.read(*body, type, fields);
  return reader.status();
}

void respond_status(const ApiRequest& request, std::string_view type, const ApiStatus& status) {
  if (!status) return request.respond_error(type, status.error());
  request.respond(type, [](json::Writer& out) { out.field("success", true); });
}

// --- INFO ------------------------------------------------------------------------------------

void write_limits(json::Writer& out, const AccountLimits& limits) {
  out.key("limits").begin_object();
  out.field("max_memory", limits.max_memory).field("max_storage", limits.max_storage);
  out.field("max_streams", limits.max_streams).field("max_consumers", limits.max_consumers);
  out.field("max_ack_pending", limits.max_ack_pending);
  out.field("memory_max_stream_bytes", limits.memory_max_stream_bytes);
  out.field("storage_max_stream_bytes", limits.storage_max_stream_bytes);
  out.field("max_bytes_required", limits.max_bytes_required);
  out.end_object();
}

void account_info(const ApiRequest& request) {
  Account& account = request.account();
  request.respond("account_info_response", [&](json::Writer& out) {
    const AccountUsage usage = account.usage();
    out.field("memory", usage.memory).field("storage", usage.storage);
    out.field("reserved_memory", usage.reserved_memory);
    out.field("reserved_storage", usage.reserved_storage);
    out.field("streams", uint64_t{usage.streams}).field("consumers", uint64_t{usage.consumers});
    write_limits(out, account.limits());
    const std::string& domain = account.jetstream().options().domain;
    if (!domain.empty()) out.field("domain", domain);
    out.key("api").begin_object();
    out.field("level", kApiLevel);
    out.field("total", account.api_stats().total).field("errors", account.api_stats().errors);
    out.end_object();
  });
}

// --- a stream's life -------------------------------------------------------------------------

void create_stream(const ApiRequest& request) {
  constexpr const char* kType = "stream_create_response";
  auto parsed = parse_config_request(request);
  if (!parsed) return request.respond_error(kType, parsed.error());
  StreamConfig& config = parsed->config;
  set_stream_versions(config);
  if (request.token(2) != config.name) return request.respond_error(kType, api_error(10056));
  if (config.name.find_first_of("\\/") != std::string::npos) {
    return request.respond_error(kType, api_error(10128));
  }
  if (config.sealed) {
    return request.respond_error(
        kType, api_error(10052, "stream configuration for create can not be sealed"));
  }
  if (config.mirror_direct && !config.mirror) {
    return request.respond_error(
        kType, api_error(10052, "stream has no mirror but does have mirror direct"));
  }
  // nats-server looks for room before anything else, but only where it is told which.
  if (parsed->names_storage) {
    if (auto status = request.account().check_room(config); !status) {
      return request.respond_error(kType, status.error());
    }
  }
  auto made = request.account().create_stream(std::move(config), parsed->is_pedantic);
  if (!made) return request.respond_error(kType, made.error());
  request.respond(kType, [&](json::Writer& out) {
    write_stream_info(out, **made, {.with_domain = false});
    out.field("did_create", true);
  });
}

void update_stream(const ApiRequest& request) {
  constexpr const char* kType = "stream_update_response";
  Account& account = request.account();
  auto parsed = parse_config_request(request);
  if (!parsed) return request.respond_error(kType, parsed.error());
  StreamConfig& config = parsed->config;
  if (auto status = check_stream_config(config, account, parsed->is_pedantic); !status) {
    return request.respond_error(kType, status.error());
  }
  if (request.token(2) != config.name) return request.respond_error(kType, api_error(10056));
  Stream* const stream = account.find_stream(config.name);
  if (stream == nullptr) return request.respond_error(kType, api_error(10059));
  set_stream_versions(config);
  auto status = account.update_stream(*stream, std::move(config), parsed->is_pedantic);
  if (!status) return request.respond_error(kType, status.error());
  request.respond(kType, [&](json::Writer& out) { write_stream_info(out, *stream, {}); });
}

void delete_stream(const ApiRequest& request) {
  constexpr const char* kType = "stream_delete_response";
  if (auto status = request.expect_empty_body(); !status) {
    return request.respond_error(kType, status.error());
  }
  Stream* const stream = request.account().find_stream(request.token(2));
  if (stream == nullptr) return request.respond_error(kType, api_error(10059));
  request.account().delete_stream(*stream);
  respond_status(request, kType, {});
}

// --- information -----------------------------------------------------------------------------

struct Page {
  int64_t offset = 0;
  std::string subject;
};

ApiResult<Page> parse_page(const ApiRequest& request, const char* type) {
  Page page;
  auto status = parse_fields(
      request, type,
      [&](JsonMember& member) {
        return member("subject", page.subject) ||
               member.embedded("ApiPagedRequest", [&](JsonMember& part) {
                 return part("offset", page.offset, "int");
               });
      },
      true);
  if (!status) return status.error();
  page.offset = std::max<int64_t>(page.offset, 0);
  return page;
}

// The account's streams on subjects that the filter may match, by name.
std::vector<Stream*> select_streams(Account& account, const std::string& filter) {
  std::vector<Stream*> found;
  for (const auto& [name, stream] : account.streams()) {
    const std::vector<std::string>& subjects = stream->config().subjects;
    const bool matches =
        filter.empty() || std::any_of(subjects.begin(), subjects.end(), [&](const std::string& each) {
          return subject::collide(filter, each);
        });
    if (matches) found.push_back(stream.get());
  }
  return found;
}

void list_streams(const ApiRequest& request, bool names_only) {
  const std::string_view type = names_only ? "stream_names_response" : "stream_list_response";
  auto page =
      parse_page(request, names_only ? "JSApiStreamNamesRequest" : "JSApiStreamListRequest");
  if (!page) return request.respond_error(type, page.error());
  const size_t limit = names_only ? kNamesMax : kListMax;
  const std::vector<Stream*> found = select_streams(request.account(), page->subject);
  const size_t offset = std::min(static_cast<size_t>(page->offset), found.size());
  const size_t end = std::min(offset + limit, found.size());
  request.respond(type, [&](json::Writer& out) {
    out.field("total", uint64_t{found.size()}).field("offset", uint64_t{offset});
    out.field("limit", uint64_t{limit});
    out.key("streams");
    if (names_only && offset == end) {
      out.null();
      return;
    }
    out.begin_array();
    for (size_t i = offset; i < end; ++i) {
      if (names_only) {
        out.string(found[i]->name());
        continue;
      }
      out.begin_object();
      write_stream_info(out, *found[i], {.with_versions = false});
      out.end_object();
    }
    out.end_array();
  });
}

void stream_info(const ApiRequest& request) {
  constexpr const char* kType = "stream_info_response";
  StreamInfoOptions options;
  options.with_leader = true;
  int64_t offset = 0;
  std::string filter;
  auto status = parse_fields(
      request, "JSApiStreamInfoRequest",
      [&](JsonMember& member) {
        return member("deleted_details", options.with_deleted) ||
               member("subjects_filter", filter) ||
               member.embedded("ApiPagedRequest", [&](JsonMember& part) {
                 return part("offset", offset, "int");
               });
      },
      true);
  if (!status) return request.respond_error(kType, status.error());
  Stream* const stream = request.account().find_stream(request.token(2));
  if (stream == nullptr) return request.respond_error(kType, api_error(10059));
  options.subjects_filter = filter;
  options.subjects_offset = static_cast<size_t>(std::max<int64_t>(offset, 0));
  size_t total = 0;
  if (!filter.empty()) {
    stream->messages().visit_subjects(filter, [&](std::string_view, uint64_t) { ++total; });
  }
  request.respond(kType, [&](json::Writer& out) {
    out.field("total", uint64_t{total});
    out.field("offset", uint64_t{total == 0 ? 0 : options.subjects_offset});
    out.field("limit", uint64_t{total == 0 ? 0 : kSubjectDetailsMax});
    write_stream_info(out, *stream, options);
  });
}

// --- messages --------------------------------------------------------------------------------

void purge_stream(const ApiRequest& request) {
  constexpr const char* kType = "stream_purge_response";
  store::PurgeRequest purge;
  std::string filter;
  auto status = parse_fields(
      request, "JSApiStreamPurgeRequest",
      [&](JsonMember& member) {
        return member("seq", purge.below) || member("filter", filter) || member("keep", purge.keep);
      },
      true);
  if (!status) return request.respond_error(kType, status.error());
  if (purge.below > 0 && purge.keep > 0) return request.respond_error(kType, api_error(10003));
  Stream* const stream = request.account().find_stream(request.token(2));
  if (stream == nullptr) return request.respond_error(kType, api_error(10059));
  if (stream->config().sealed) return request.respond_error(kType, api_error(10109));
  if (stream->config().deny_purge) {
    return request.respond_error(kType, api_error(10110, "stream purge not permitted"));
  }
  purge.filter = filter;
  stream->note_purge();
  const uint64_t purged = stream->messages().purge(purge);
  request.respond(kType, [&](json::Writer& out) {
    out.field("success", true).field("purged", purged);
  });
}

struct GetRequest {
  uint64_t seq = 0;
  std::string last_by_subject;
  std::string next_by_subject;
  std::optional<WallTime> start_time;
  int64_t batch = 0;
  int64_t max_bytes = 0;
  bool no_headers = false;
  std::vector<std::string> multi_last;
  uint64_t up_to_seq = 0;
  std::optional<WallTime> up_to_time;

  bool is_bad() const {
    const bool by_last = !last_by_subject.empty();
    const bool by_next = !next_by_subject.empty();
    if (batch > 0 || max_bytes > 0) return true;
    if (seq == 0 && !by_last && !by_next && !start_time) return true;
    return (seq > 0 && by_last) || (seq > 0 && start_time) || (start_time && by_last) ||
           (by_last && by_next);
  }
};

bool read_get_member(JsonMember& member, GetRequest& get) {
  return member("seq", get.seq) || member("last_by_subj", get.last_by_subject) ||
         member("next_by_subj", get.next_by_subject) || member("start_time", get.start_time) ||
         member("batch", get.batch, "int") || member("max_bytes", get.max_bytes, "int") ||
         member("no_hdr", get.no_headers) || member("multi_last", get.multi_last) ||
         member("up_to_seq", get.up_to_seq) || member("up_to_time", get.up_to_time);
}

Result<store::Record> load(store::Stream& messages, const GetRequest& get) {
  uint64_t seq = get.seq;
  if (get.start_time) seq = messages.seq_at(*get.start_time);
  if (!get.next_by_subject.empty()) {
    const store::SubjectFilter filter(messages, {get.next_by_subject});
    return messages.load_next(filter, seq);
  }
  return seq > 0 ? messages.load(seq) : messages.load_last(get.last_by_subject);
}

void get_message(const ApiRequest& request) {
  constexpr const char* kType = "stream_msg_get_response";
  if (request.has_empty_body()) return request.respond_error(kType, api_error(10003));
  GetRequest get;
  auto status = parse_fields(
      request, "JSApiMsgGetRequest",
      [&](JsonMember& member) { return read_get_member(member, get); }, false);
  if (!status) return request.respond_error(kType, status.error());
  if (get.is_bad()) return request.respond_error(kType, api_error(10003));
  Stream* const stream = request.account().find_stream(request.token(3));
  if (stream == nullptr) return request.respond_error(kType, api_error(10059));
  const auto found = load(stream->messages(), get);
  if (!found) return request.respond_error(kType, api_error(10037));
  request.respond_unaudited(kType, [&](json::Writer& out) {
    out.key("message").begin_object();
    out.field("subject", found->subject).field("seq", found->seq);
    if (!get.no_headers && !found->headers.empty()) {
      out.field("hdrs", base64_encode(found->headers));
    }
    if (!found->body.empty()) out.field("data", base64_encode(found->body));
    out.field("time", format_rfc3339(WallTime(Duration(found->timestamp_ns))));
    out.end_object();
  });
}

// What nats-server's two kinds of storage say of a message that is not there.
ApiError missing_message(Stream& stream, uint64_t seq) {
  if (stream.config().storage == StorageType::File) {
    if (seq > stream.messages().last_seq()) return api_error(10057, "stream store EOF");
    if (seq < stream.messages().first_seq()) return api_error(10057, "no message found");
  }
  return api_error(10043, std::to_string(seq));
}

void delete_message(const ApiRequest& request) {
  constexpr const char* kType = "stream_msg_delete_response";
  if (request.has_empty_body()) return request.respond_error(kType, api_error(10003));
  uint64_t seq = 0;
  bool no_erase = false;
  auto status = parse_fields(
      request, "JSApiMsgDeleteRequest",
      [&](JsonMember& member) { return member("seq", seq) || member("no_erase", no_erase); },
      false);
  if (!status) return request.respond_error(kType, status.error());
  Stream* const stream = request.account().find_stream(request.token(3));
  if (stream == nullptr) return request.respond_error(kType, api_error(10059));
  if (stream->config().sealed) return request.respond_error(kType, api_error(10109));
  if (stream->config().deny_delete) {
    return request.respond_error(kType, api_error(10057, "message delete not permitted"));
  }
  if (!stream->messages().remove(seq, store::Removal::Deleted, !no_erase)) {
    return request.respond_error(kType, missing_message(*stream, seq));
  }
  respond_status(request, kType, {});
}

// --- what needs a cluster, and the server's own ----------------------------------------------

void refuse_without_cluster(const ApiRequest& request, std::string_view type) {
  ApiError error = api_error(10010);
  error.description += kClusterHint;
  request.respond_error(type, error);
}

void purge_account(const ApiRequest& request) {
  Account* const account = request.account().jetstream().find_account(request.tail(2));
  while (account != nullptr && !account->streams().empty()) {
    account->delete_stream(*account->streams().begin()->second);
  }
  request.respond("account_purge_response",
                  [](json::Writer& out) { out.field("initiated", true); });
}

struct Route {
  std::string_view subject;  // the tokens between "$JS.API." and the names
  size_t names;              // how many tokens follow
  std::string_view type;
  void (*handle)(const ApiRequest&);
  bool is_mutating = false;
};

constexpr auto kRoutes = std::to_array<Route>({
    {"INFO", 0, "account_info_response", account_info},
    {"STREAM.CREATE", 1, "stream_create_response", create_stream, true},
    {"STREAM.UPDATE", 1, "stream_update_response", update_stream, true},
    {"STREAM.DELETE", 1, "stream_delete_response", delete_stream, true},
    {"STREAM.PURGE", 1, "stream_purge_response", purge_stream, true},
    {"STREAM.NAMES", 0, "stream_names_response",
     [](const ApiRequest& request) { list_streams(request, true); }},
    {"STREAM.LIST", 0, "stream_list_response",
     [](const ApiRequest& request) { list_streams(request, false); }},
    {"STREAM.INFO", 1, "stream_info_response", stream_info},
    {"STREAM.MSG.GET", 1, "stream_msg_get_response", get_message},
    {"STREAM.MSG.DELETE", 1, "stream_msg_delete_response", delete_message, true},
    {"STREAM.SNAPSHOT", 1, "stream_snapshot_response", handle_snapshot_request},
    {"STREAM.RESTORE", 1, "stream_restore_response", handle_restore_request, true},
});

struct ClusterRoute {
  std::string_view subject;
  std::string_view type;
};
constexpr auto kClusterRoutes = std::to_array<ClusterRoute>({
    {"STREAM.PEER.REMOVE.", "stream_remove_peer_response"},
    {"STREAM.PEER.EVACUATE.", "stream_evacuate_peer_response"},
    {"STREAM.LEADER.STEPDOWN.", "stream_leader_stepdown_response"},
    {"STREAM.CANCEL_MOVE.", "stream_cancel_move_response"},
    {"CONSUMER.LEADER.STEPDOWN.", "consumer_leader_stepdown_response"},
    {"META.LEADER.STEPDOWN", "meta_leader_stepdown_response"},
    {"META.RESCUE", "meta_rescue_response"},
    {"SERVER.REMOVE", "meta_server_remove_response"},
    {"SERVER.EVACUATE", "meta_server_evacuate_response"},
    {"ACCOUNT.STREAM.MOVE.", "meta_server_stream_move_response"},
    {"ACCOUNT.STREAM.CANCEL_MOVE.", "meta_server_stream_move_response"},
});

// Whether the store can take changes; what the mutating requests are told otherwise.
bool is_refused(const ApiRequest& request, const Route& route) {
  return route.is_mutating && request.account().jetstream().store().failure() != nullptr;
}

}  // namespace

void handle_stream_request(const ApiRequest& request) {
  const std::string_view subject = request.tail(0);
  for (const Route& route : kRoutes) {
    if (!subject.starts_with(route.subject)) continue;
    const std::string_view rest = subject.substr(route.subject.size());
    const size_t names = rest.empty() ? 0 : static_cast<size_t>(std::count(rest.begin(), rest.end(), '.'));
    if (names != route.names || (!rest.empty() && rest[0] != '.')) continue;
    if (auto status = check_request(request); !status) {
      return request.respond_error(route.type, status.error());
    }
    if (is_refused(request, route)) return request.respond_error(route.type, api_error(10008));
    return route.handle(request);
  }
  for (const ClusterRoute& route : kClusterRoutes) {
    if (subject.starts_with(route.subject)) return refuse_without_cluster(request, route.type);
  }
  if (subject.starts_with("ACCOUNT.PURGE.")) return purge_account(request);
  request.respond_error("system_response", api_error(10003));
}

std::string_view consumer_response_type(const ApiRequest& request) {
  constexpr std::pair<std::string_view, std::string_view> kTypes[] = {
      {"CREATE", "consumer_create_response"}, {"DURABLE", "consumer_create_response"},
      {"NAMES", "consumer_names_response"},   {"LIST", "consumer_list_response"},
      {"INFO", "consumer_info_response"},     {"DELETE", "consumer_delete_response"},
      {"PAUSE", "consumer_pause_response"},   {"UNPIN", "consumer_unpin_response"},
      {"RESET", "consumer_reset_response"},
  };
  for (const auto& [token, type] : kTypes) {
    if (request.token(1) == token) return type;
  }
  return "system_response";
}

}  // namespace brokkr::jetstream
