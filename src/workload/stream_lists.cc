#include "workload/stream_lists.h"

#include <algorithm>
#include <vector>

#include "base/bytes.h"
#include "base/json.h"
#include "workload/api_body.h"

namespace brokkr::workload {
namespace {

constexpr std::string_view kNames = "$JS.API.STREAM.NAMES";
constexpr std::string_view kList = "$JS.API.STREAM.LIST";
constexpr std::string_view kInfo = "$JS.API.INFO";
constexpr Duration kPatience = std::chrono::seconds(5);
// As servers page.
constexpr size_t kNamesPage = 1024;
constexpr size_t kListPage = 256;
// What an account may hold before asking for all of it is too much.
constexpr size_t kPagesMax = 64;
constexpr size_t kBytesMax = 8U << 20;

struct Listing {
  Listing(client::Connection& c, std::shared_ptr<const Access> a, ListHandler d, std::string s)
      : connection(c), access(std::move(a)), done(std::move(d)), is_names(s == kNames),
        subject(std::move(s)) {}

  client::Connection& connection;
  const std::shared_ptr<const Access> access;
  const ListHandler done;
  const bool is_names;
  const std::string subject;
  std::string filter;      // the request's "subject"
  uint64_t wanted_offset = 0;
  uint64_t offset = 0;     // of the next page at the server
  size_t pages = 0;
  size_t bytes = 0;
  std::vector<std::string> streams;  // the JSON of each that is allowed

  void finish(std::string answer) const { done(std::move(answer)); }
  // A server without JetStream is told by nobody answering, as everywhere.
  void fail(const Error& error) const {
    if (error.code == Errc::NoResponders) return done(error);
    done(api_error(subject, error));
  }
  std::string page() const {
    const size_t limit = is_names ? kNamesPage : kListPage;
    json::Writer out;
    out.begin_object();
    out.field("type", is_names ? "io.nats.jetstream.api.v1.stream_names_response"
                               : "io.nats.jetstream.api.v1.stream_list_response");
    out.field("total", uint64_t{streams.size()}).field("offset", wanted_offset);
    out.field("limit", uint64_t{limit}).key("streams").begin_array();
    for (size_t i = wanted_offset; i < std::min(streams.size(), wanted_offset + limit); ++i) {
      out.raw(streams[i]);
    }
    return out.end_array().end_object().take();
  }
  void keep(const json::Value& stream) {
    const json::Value* config = stream.find("config");
    const std::string_view name =
        is_names ? stream.as_string()
                 : (config == nullptr ? std::string_view() : config->get_string("name"));
    if (!access->may_read_stream(name)) return;
    json::Writer out;
    out.value(stream);
    streams.push_back(out.take());
    bytes += streams.back().size();
  }
};

void ask_for_page(std::shared_ptr<Listing> listing);

// Whether there is more to ask for.
Result<bool> take_page(Listing& listing, std::string_view payload) {
  const auto answer = json::parse(payload);
  if (!answer) return Error{Errc::Unavailable, "the server's answer is no JSON"};
  if (answer->find("error") != nullptr) return Error{Errc::NotFound, ""};
  const json::Value* streams = answer->find("streams");
  const size_t count = streams == nullptr ? 0 : streams->items().size();
  for (size_t i = 0; i < count; ++i) listing.keep(streams->items()[i]);
  listing.offset += count;
  if (count == 0 || listing.offset >= static_cast<uint64_t>(answer->get_int("total"))) return false;
  if (++listing.pages >= kPagesMax || listing.bytes > kBytesMax) {
    return Error{Errc::LimitExceeded, "too many streams to list"};
  }
  return true;
}

void on_page(const std::shared_ptr<Listing>& listing, const Result<client::Message>& reply) {
  if (!reply) return listing->fail(reply.error());
  const auto more = take_page(*listing, reply->payload);
  if (!more) {
    // An error of the server's own is passed on as it is.
    const bool is_servers = more.error().code == Errc::NotFound;
    return is_servers ? listing->finish(std::string(reply->payload)) : listing->fail(more.error());
  }
  if (*more) return ask_for_page(listing);
  listing->finish(listing->page());
}

void ask_for_page(std::shared_ptr<Listing> listing) {
  json::Writer body;
  body.begin_object().field("offset", listing->offset);
  if (!listing->filter.empty()) body.field("subject", listing->filter);
  body.end_object();
  client::Connection& connection = listing->connection;
  auto sent = connection.request(
      listing->subject, body.text(), kPatience,
      [listing](const Result<client::Message>& reply) { on_page(listing, reply); });
  if (!sent) listing->fail(sent.error());
}

// Without the figures of what others use.
std::string without_usage(std::string_view payload) {
  const auto answer = json::parse(payload);
  if (!answer || !answer->is_object()) return std::string(payload);
  json::Writer out;
  out.begin_object();
  for (const auto& [key, value] : answer->members()) {
    out.key(key);
    if (value.is_number()) {
      out.number(0);
    } else if (key == "api") {
      out.begin_object().field("total", 0).field("errors", 0).end_object();
    } else if (key == "tiers") {
      out.begin_object().end_object();
    } else {
      out.value(value);
    }
  }
  return out.end_object().take();
}

}  // namespace

bool is_list_request(std::string_view subject) {
  return subject == kNames || subject == kList || subject == kInfo;
}

void answer_list_request(client::Connection& connection, std::shared_ptr<const Access> access,
                         std::string_view subject, std::string_view body, ListHandler done) {
  auto listing = std::make_shared<Listing>(connection, std::move(access), std::move(done),
                                           std::string(subject));
  if (subject == kInfo) {
    auto sent = connection.request(
        subject, body, kPatience, [listing](const Result<client::Message>& reply) {
          if (!reply) return listing->fail(reply.error());
          const bool is_whole = listing->access->names().ns == "default";
          listing->finish(is_whole ? std::string(reply->payload) : without_usage(reply->payload));
        });
    if (!sent) listing->fail(sent.error());
    return;
  }
  if (!trim(body).empty()) {
    const auto request = json::parse(body);
    if (!request || !request->is_object()) {
      return listing->fail({Errc::Syntax, "the request is no object"});
    }
    listing->filter = request->get_string("subject");
    listing->wanted_offset = static_cast<uint64_t>(std::max<int64_t>(0, request->get_int("offset")));
  }
  ask_for_page(std::move(listing));
}

}  // namespace brokkr::workload
