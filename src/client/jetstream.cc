#include "client/jetstream.h"

#include <algorithm>
#include <memory>

#include "base/bytes.h"
#include "client/headers.h"
#include "client/jetstream_json.h"

namespace brokkr::client {
namespace {

constexpr std::string_view kStatusKeys[] = {"Nats-Stream",     "Nats-Subject",
                                            "Nats-Sequence",   "Nats-Time-Stamp",
                                            "Nats-Num-Pending", "Nats-Last-Sequence"};

Error bad_name(const char* what, const std::string& name) {
  return {Errc::InvalidArgument, std::string("invalid ") + what + " name \"" + name + "\""};
}

Errc status_errc(int status) {
  switch (status) {
    case 400: return Errc::InvalidArgument;
    case 404: return Errc::NotFound;
    case 408: return Errc::TimedOut;
    case 412: return Errc::Unsupported;
    case 413: return Errc::LimitExceeded;
    default: return Errc::Unavailable;
  }
}

// A handler for an answer whose content `parse` reads.
template <typename T>
ApiHandler<json::Value> reading(ApiHandler<T> handler, ApiResult<T> (*parse)(const json::Value&)) {
  return [handler = std::move(handler), parse](ApiResult<json::Value> answer) {
    if (!answer) return handler(answer.error());
    handler(parse(*answer));
  };
}

ApiHandler<json::Value> without_content(ApiHandler<Done> handler) {
  return [handler = std::move(handler)](ApiResult<json::Value> answer) {
    if (!answer) return handler(answer.error());
    handler(Done{});
  };
}

// A call that answers in pages.
template <typename T>
struct Paged {
  JetStream api;
  std::string call;
  std::string subject;
  const char* member;
  ApiResult<T> (*parse)(const json::Value&);
  ApiHandler<std::vector<T>> handler;
  std::vector<T> items{};
};

template <typename T>
void next_page(std::shared_ptr<Paged<T>> paged) {
  json::Writer body;
  body.begin_object().field("offset", uint64_t{paged->items.size()});
  if (!paged->subject.empty()) body.field("subject", paged->subject);
  body.end_object();
  const JetStream api = paged->api;
  const std::string call = paged->call;
  api.call(call, body.text(), [paged](ApiResult<json::Value> answer) {
    if (!answer) return paged->handler(answer.error());
    const json::Value* page = answer->find(paged->member);
    const size_t page_size = page == nullptr ? 0 : page->items().size();
    for (size_t i = 0; i < page_size; ++i) {
      auto item = paged->parse(page->items()[i]);
      if (!item) return paged->handler(item.error());
      paged->items.push_back(std::move(*item));
    }
    const auto total = static_cast<uint64_t>(std::max<int64_t>(0, answer->get_int("total")));
    if (page_size == 0 || paged->items.size() >= total) {
      return paged->handler(std::move(paged->items));
    }
    next_page(paged);
  });
}

ApiResult<std::string> parse_name(const json::Value& value) {
  return std::string(value.as_string());
}

// Fetches the pages of subject details until all are there.
struct InfoPages {
  JetStream api;
  std::string stream;
  StreamInfoOptions options;
  ApiHandler<StreamInfo> handler;
  std::optional<StreamInfo> info{};
};

void next_info_page(std::shared_ptr<InfoPages> pages) {
  json::Writer body;
  body.begin_object();
  FieldWriter fields(body);
  fields.write("deleted_details", pages->options.deleted_details);
  fields.write("subjects_filter", pages->options.subjects_filter);
  if (pages->info) fields.write("offset", uint64_t{pages->info->state.subjects.size()});
  const std::string text = body.end_object().take();
  const JetStream api = pages->api;
  const std::string call = "STREAM.INFO." + pages->stream;
  api.call(call, text == "{}" ? "" : text, [pages](ApiResult<json::Value> answer) {
    if (!answer) return pages->handler(answer.error());
    auto info = parse_stream_info(*answer);
    if (!info) return pages->handler(info.error());
    const size_t page_size = info->state.subjects.size();
    if (pages->info) info->state.subjects.merge(pages->info->state.subjects);
    pages->info = std::move(*info);
    const auto total = static_cast<uint64_t>(std::max<int64_t>(0, answer->get_int("total")));
    if (page_size == 0 || pages->info->state.subjects.size() >= total) {
      return pages->handler(std::move(*pages->info));
    }
    next_info_page(pages);
  });
}

std::string make_get_body(const GetOptions& options) {
  json::Writer body;
  body.begin_object();
  FieldWriter fields(body);
  fields.write("seq", options.seq);
  fields.write("last_by_subj", options.last_by_subj);
  fields.write("next_by_subj", options.next_by_subj);
  fields.write("start_time", options.start_time);
  return body.end_object().take();
}

std::string make_batch_body(const BatchOptions& options) {
  json::Writer body;
  body.begin_object();
  FieldWriter fields(body);
  fields.write("batch", options.batch);
  fields.write("max_bytes", options.max_bytes);
  fields.write("seq", options.seq);
  fields.write("start_time", options.start_time);
  fields.write("next_by_subj", options.next_by_subj);
  fields.write("multi_last", options.multi_last);
  fields.write("up_to_seq", options.up_to_seq);
  fields.write("up_to_time", options.up_to_time);
  return body.end_object().take();
}

// What a direct get delivers: the server's headers follow the message's own and are taken off.
ApiResult<StoredMessage> parse_direct_message(const Message& message) {
  if (auto status = find_status(message)) return std::move(*status);
  const auto headers = Headers::parse(message.headers);
  if (!headers) return Error{Errc::Syntax, "direct get answered without headers"};
  StoredMessage out;
  std::vector<Header> lines;
  for (const Header& header : *headers) lines.push_back(header);
  std::string_view values[std::size(kStatusKeys)];
  for (size_t i = 0; i < std::size(kStatusKeys); ++i) {
    const auto at = std::find_if(lines.rbegin(), lines.rend(), [&](const Header& header) {
      return header.key == kStatusKeys[i];
    });
    if (at == lines.rend()) continue;
    values[i] = at->value;
    lines.erase(std::next(at).base());
  }
  out.subject = values[1];
  const auto seq = parse_uint(values[2]);
  if (!seq || !parse_rfc3339(values[3], out.time)) {
    return Error{Errc::Syntax, "direct get answered without sequence or time"};
  }
  out.seq = *seq;
  out.num_pending = parse_uint(values[4]).value_or(0);
  out.last_seq = parse_uint(values[5]).value_or(0);
  if (!lines.empty()) {
    HeaderWriter block;
    for (const Header& header : lines) block.add(header.key, header.value);
    out.headers = block.take();
  }
  out.payload = message.payload;
  return out;
}

}  // namespace

bool is_asset_name(std::string_view name) {
  if (name.empty() || name.size() > 255) return false;
  return name.find_first_of(" \t\r\n\f.*>/\\") == std::string_view::npos;
}

std::optional<ApiError> find_status(const Message& message) {
  if (!message.payload.empty() || message.headers.empty()) return {};
  const auto headers = Headers::parse(message.headers);
  if (!headers || headers->status() == 0) return {};
  ApiError error;
  error.http_code = headers->status();
  error.code = status_errc(error.http_code);
  error.text = to_lower(headers->status_text());
  if (error.text.empty()) error.text = "status " + std::to_string(error.http_code);
  return error;
}

JetStream::JetStream(Connection& connection, JetStreamOptions options)
    : connection_(&connection), options_(std::move(options)) {
  std::string& prefix = options_.api_prefix;
  if (prefix.empty()) {
    prefix = options_.domain.empty() ? "$JS.API" : "$JS." + options_.domain + ".API";
  }
  if (prefix.ends_with('.')) prefix.pop_back();
}

void JetStream::call(const std::string& subject, std::string_view body,
                     ApiHandler<json::Value> handler) const {
  auto shared = std::make_shared<ApiHandler<json::Value>>(std::move(handler));
  auto sent = connection_->request(options_.api_prefix + "." + subject, body, options_.timeout,
                                   [shared](const Result<Message>& reply) {
                                     if (!reply) return (*shared)(reply.error());
                                     auto answer = json::parse(reply->payload);
                                     if (auto error = find_api_error(answer)) {
                                       return (*shared)(std::move(*error));
                                     }
                                     (*shared)(std::move(*answer));
                                   });
  if (!sent) (*shared)(sent.error());
}

void JetStream::account_info(ApiHandler<AccountInfo> handler) const {
  call("INFO", {}, reading<AccountInfo>(std::move(handler), parse_account_info));
}

void JetStream::create_stream(const StreamConfig& config, ApiHandler<StreamInfo> handler) const {
  if (!is_asset_name(config.name)) return handler(bad_name("stream", config.name));
  json::Writer body;
  write_json(body, config);
  call("STREAM.CREATE." + config.name, body.text(),
       reading<StreamInfo>(std::move(handler), parse_stream_info));
}

void JetStream::update_stream(const StreamConfig& config, ApiHandler<StreamInfo> handler) const {
  if (!is_asset_name(config.name)) return handler(bad_name("stream", config.name));
  json::Writer body;
  write_json(body, config);
  call("STREAM.UPDATE." + config.name, body.text(),
       reading<StreamInfo>(std::move(handler), parse_stream_info));
}

void JetStream::stream_info(const std::string& stream, ApiHandler<StreamInfo> handler,
                            const StreamInfoOptions& options) const {
  if (!is_asset_name(stream)) return handler(bad_name("stream", stream));
  next_info_page(std::make_shared<InfoPages>(
      InfoPages{*this, stream, options, std::move(handler)}));
}

void JetStream::delete_stream(const std::string& stream, ApiHandler<Done> handler) const {
  if (!is_asset_name(stream)) return handler(bad_name("stream", stream));
  call("STREAM.DELETE." + stream, {}, without_content(std::move(handler)));
}

void JetStream::purge_stream(const std::string& stream, const PurgeOptions& options,
                             ApiHandler<uint64_t> handler) const {
  if (!is_asset_name(stream)) return handler(bad_name("stream", stream));
  json::Writer body;
  body.begin_object();
  FieldWriter fields(body);
  fields.write("filter", options.filter);
  fields.write("seq", options.seq);
  fields.write("keep", options.keep);
  body.end_object();
  call("STREAM.PURGE." + stream, body.text(),
       [handler = std::move(handler)](ApiResult<json::Value> answer) {
         if (!answer) return handler(answer.error());
         const json::Value* purged = answer->find("purged");
         handler(purged == nullptr ? uint64_t{0} : purged->as_uint().value_or(0));
       });
}

void JetStream::list_streams(const std::string& subject,
                             ApiHandler<std::vector<StreamInfo>> handler) const {
  next_page(std::make_shared<Paged<StreamInfo>>(Paged<StreamInfo>{
      *this, "STREAM.LIST", subject, "streams", parse_stream_info, std::move(handler)}));
}

void JetStream::stream_names(const std::string& subject,
                             ApiHandler<std::vector<std::string>> handler) const {
  next_page(std::make_shared<Paged<std::string>>(Paged<std::string>{
      *this, "STREAM.NAMES", subject, "streams", parse_name, std::move(handler)}));
}

void JetStream::find_stream(const std::string& subject, ApiHandler<std::string> handler) const {
  stream_names(subject, [handler = std::move(handler),
                         subject](ApiResult<std::vector<std::string>> names) {
    if (!names) return handler(names.error());
    if (names->empty()) {
      return handler(Error{Errc::NotFound, "no stream matches subject \"" + subject + "\""});
    }
    handler(std::move(names->front()));
  });
}

void JetStream::create_consumer(const std::string& stream, const ConsumerConfig& config,
                                ApiHandler<ConsumerInfo> handler, CreateAction action) const {
  if (!is_asset_name(stream)) return handler(bad_name("stream", stream));
  const std::string& name = config.name.empty() ? config.durable_name : config.name;
  if (!name.empty() && !is_asset_name(name)) return handler(bad_name("consumer", name));
  json::Writer body;
  body.begin_object().field("stream_name", stream);
  write_json(body.key("config"), config);
  if (action == CreateAction::Create) body.field("action", "create");
  if (action == CreateAction::Update) body.field("action", "update");
  body.end_object();
  std::string subject = "CONSUMER.CREATE." + stream;
  if (!name.empty()) {
    subject += "." + name;
    if (!config.filter_subject.empty()) subject += "." + config.filter_subject;
  }
  call(subject, body.text(), reading<ConsumerInfo>(std::move(handler), parse_consumer_info));
}

void JetStream::consumer_info(const std::string& stream, const std::string& consumer,
                              ApiHandler<ConsumerInfo> handler) const {
  if (!is_asset_name(stream)) return handler(bad_name("stream", stream));
  if (!is_asset_name(consumer)) return handler(bad_name("consumer", consumer));
  call("CONSUMER.INFO." + stream + "." + consumer, {},
       reading<ConsumerInfo>(std::move(handler), parse_consumer_info));
}

void JetStream::delete_consumer(const std::string& stream, const std::string& consumer,
                                ApiHandler<Done> handler) const {
  if (!is_asset_name(stream)) return handler(bad_name("stream", stream));
  if (!is_asset_name(consumer)) return handler(bad_name("consumer", consumer));
  call("CONSUMER.DELETE." + stream + "." + consumer, {}, without_content(std::move(handler)));
}

void JetStream::list_consumers(const std::string& stream,
                               ApiHandler<std::vector<ConsumerInfo>> handler) const {
  if (!is_asset_name(stream)) return handler(bad_name("stream", stream));
  next_page(std::make_shared<Paged<ConsumerInfo>>(Paged<ConsumerInfo>{
      *this, "CONSUMER.LIST." + stream, {}, "consumers", parse_consumer_info, std::move(handler)}));
}

void JetStream::consumer_names(const std::string& stream,
                               ApiHandler<std::vector<std::string>> handler) const {
  if (!is_asset_name(stream)) return handler(bad_name("stream", stream));
  next_page(std::make_shared<Paged<std::string>>(Paged<std::string>{
      *this, "CONSUMER.NAMES." + stream, {}, "consumers", parse_name, std::move(handler)}));
}

void JetStream::pause_consumer(const std::string& stream, const std::string& consumer,
                               std::optional<WallTime> until,
                               ApiHandler<PauseState> handler) const {
  if (!is_asset_name(stream)) return handler(bad_name("stream", stream));
  if (!is_asset_name(consumer)) return handler(bad_name("consumer", consumer));
  json::Writer body;
  body.begin_object();
  FieldWriter(body).write("pause_until", until);
  body.end_object();
  call("CONSUMER.PAUSE." + stream + "." + consumer, body.text(),
       reading<PauseState>(std::move(handler), parse_pause_state));
}

void JetStream::get_message(const std::string& stream, const GetOptions& options,
                            ApiHandler<StoredMessage> handler) const {
  if (!is_asset_name(stream)) return handler(bad_name("stream", stream));
  call("STREAM.MSG.GET." + stream, make_get_body(options),
       [handler = std::move(handler)](ApiResult<json::Value> answer) {
         if (!answer) return handler(answer.error());
         const json::Value* message = answer->find("message");
         if (message == nullptr) return handler(Error{Errc::Syntax, "answer has no message"});
         handler(parse_stored_message(*message));
       });
}

void JetStream::delete_message(const std::string& stream, uint64_t seq, bool no_erase,
                               ApiHandler<Done> handler) const {
  if (!is_asset_name(stream)) return handler(bad_name("stream", stream));
  json::Writer body;
  body.begin_object().field("seq", seq);
  if (no_erase) body.field("no_erase", true);
  body.end_object();
  call("STREAM.MSG.DELETE." + stream, body.text(), without_content(std::move(handler)));
}

void JetStream::direct_get(const std::string& stream, const GetOptions& options,
                           ApiHandler<StoredMessage> handler) const {
  if (!is_asset_name(stream)) return handler(bad_name("stream", stream));
  std::string subject = options_.api_prefix + ".DIRECT.GET." + stream;
  std::string body;
  if (!options.last_by_subj.empty()) {
    subject += "." + options.last_by_subj;
  } else {
    body = make_get_body(options);
  }
  auto shared = std::make_shared<ApiHandler<StoredMessage>>(std::move(handler));
  auto sent = connection_->request(subject, body, options_.timeout,
                                   [shared](const Result<Message>& reply) {
                                     if (!reply) return (*shared)(reply.error());
                                     (*shared)(parse_direct_message(*reply));
                                   });
  if (!sent) (*shared)(sent.error());
}

void JetStream::direct_get_batch(const std::string& stream, const BatchOptions& options,
                                 Callback<void(const StoredMessage&)> on_message,
                                 ApiHandler<Done> on_end) const {
  if (!is_asset_name(stream)) return on_end(bad_name("stream", stream));
  struct Pending {
    Callback<void(const StoredMessage&)> on_message;
    ApiHandler<Done> on_end;
    std::optional<RequestId> request;
  };
  auto state =
      std::make_shared<Pending>(Pending{std::move(on_message), std::move(on_end), std::nullopt});
  Connection* connection = connection_;
  const auto finish = [state, connection](ApiResult<Done> result) {
    const ApiHandler<Done> handler = std::move(state->on_end);
    if (state->request) connection->cancel(*state->request);
    if (handler) handler(std::move(result));
  };
  auto sent = connection_->request_many(
      options_.api_prefix + ".DIRECT.GET." + stream, make_batch_body(options),
      {options_.timeout, options_.timeout, 0, false},
      [state, finish](const Message& message) {
        if (!state->on_end) return;
        auto stored = parse_direct_message(message);
        if (stored) return state->on_message(*stored);
        if (stored.error().http_code == 204) return finish(Done{});
        finish(stored.error());
      },
      [finish](const Status& status) {
        // Replies that stop without the mark of their end are a time-out too.
        finish(status ? Error{Errc::TimedOut, "batch did not end"} : status.error());
      });
  if (!sent) return finish(sent.error());
  state->request = *sent;
}

std::string make_publish_headers(const StreamPublishOptions& options) {
  HeaderWriter block;
  bool is_empty = true;
  const auto add = [&](std::string_view key, std::string_view value) {
    if (block.add(key, value)) is_empty = false;
  };
  if (const auto given = Headers::parse(options.headers)) {
    for (const Header& header : *given) add(header.key, header.value);
  }
  if (!options.msg_id.empty()) add("Nats-Msg-Id", options.msg_id);
  if (!options.expected_stream.empty()) add("Nats-Expected-Stream", options.expected_stream);
  if (options.expected_last_seq) {
    add("Nats-Expected-Last-Sequence", std::to_string(*options.expected_last_seq));
  }
  if (options.expected_last_subject_seq) {
    add("Nats-Expected-Last-Subject-Sequence", std::to_string(*options.expected_last_subject_seq));
  }
  if (!options.expected_last_subject_seq_subject.empty()) {
    add("Nats-Expected-Last-Subject-Sequence-Subject", options.expected_last_subject_seq_subject);
  }
  if (!options.expected_last_msg_id.empty()) {
    add("Nats-Expected-Last-Msg-Id", options.expected_last_msg_id);
  }
  if (options.ttl != Duration(0)) {
    add("Nats-TTL", options.ttl < Duration(0) ? "never" : format_go_duration(options.ttl));
  }
  return is_empty ? std::string() : block.take();
}

void JetStream::publish(std::string_view subject, std::string_view payload,
                        const StreamPublishOptions& options, ApiHandler<PubAck> handler) const {
  const Duration timeout = options.timeout > Duration(0) ? options.timeout : options_.timeout;
  auto shared = std::make_shared<ApiHandler<PubAck>>(std::move(handler));
  auto sent = connection_->request(
      subject, payload, timeout,
      [shared](const Result<Message>& reply) {
        if (!reply) return (*shared)(reply.error());
        (*shared)(parse_pub_ack(reply->payload));
      },
      make_publish_headers(options));
  if (!sent) (*shared)(sent.error());
}

}  // namespace brokkr::client
