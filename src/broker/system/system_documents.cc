// What SystemServices answers; runs on its thread.
#include <algorithm>

#include "base/bytes.h"
#include "broker/server.h"
#include "broker/system/encoding.h"
#include "broker/system/request.h"
#include "broker/system/services.h"
#include "subject/subject.h"

namespace brokkr::broker {
namespace {

constexpr int kBadRequest = 400;
constexpr int kServerError = 500;

Result<std::string> compact(Result<std::string> document) {
  if (!document) return document;
  return compact_json(*document);
}

// Nothing of Go's runtime is here to be profiled.
std::string profile_answer(OptionReader& reader) {
  const std::string name = reader.text("name");
  json::Writer out;
  out.begin_object().key("profile").null();
  out.field("error", name.empty() ? "Profile name not specified"
                                  : "Profile \"" + name + "\" not found");
  out.end_object();
  return out.take();
}

}  // namespace

std::optional<SystemServices::Reply> SystemServices::answer(const Request& request) {
  using Kind = Service::Kind;
  if (request.kind == Kind::Idz) return Reply{{}, identity_.id()};
  if (request.kind == Kind::CountRequest || request.kind == Kind::CountSubscribers) {
    const auto count = count_subscribers(request);
    if (!count) return std::nullopt;
    return Reply{{}, *count};
  }
  OptionReader reader(request.body);
  if (!reader.has_failed() && !is_meant(reader, *server_.snapshot()->settings)) return std::nullopt;
  if (reader.has_failed()) return Reply{{}, identity_.wrap_error(kBadRequest, reader.error())};
  if (request.kind == Kind::Statsz) {
    std::string body = statsz();
    if (body.empty()) return std::nullopt;
    return Reply{{}, std::move(body)};
  }
  if (request.kind == Kind::AccountConns) {
    const auto account = pages_.account(request.account);
    if (!account || !*account || (*account)->connections == 0) return std::nullopt;
    return Reply{{}, account_event(**account)};
  }
  if (request.kind == Kind::Kick || request.kind == Kind::LameDuck) {
    const auto done = notify(request, reader);
    return Reply{{}, done ? identity_.wrap({}) : identity_.wrap_error(kServerError, done.error().text)};
  }
  auto document = request.kind < Kind::AccountSubsz ? make_document(request, reader)
                                                    : account_document(request, reader);
  if (reader.has_failed()) return Reply{{}, identity_.wrap_error(kBadRequest, reader.error())};
  if (!document) return Reply{{}, identity_.wrap_error(kServerError, document.error().text, true)};
  if (document->empty()) return std::nullopt;
  Reply reply{{}, identity_.wrap(*document)};
  encode_as_accepted(request.headers, snappy_, reply.headers, reply.body);
  return reply;
}

// Compact JSON; empty: no answer.
Result<std::string> SystemServices::make_document(const Request& request, OptionReader& reader) {
  using Kind = Service::Kind;
  switch (request.kind) {
    case Kind::Varz: return compact(pages_.varz());
    case Kind::Subsz: {
      const SubszOptions options = read_subsz_options(reader);
      if (!options.test.empty() && !subject::is_valid_literal(options.test)) {
        return Error{Errc::InvalidSubject,
                     "invalid test subject, must be valid publish subject: " + options.test};
      }
      return compact(pages_.subsz(options));
    }
    case Kind::Connz: {
      const auto options = read_connz_options(reader);
      if (!options) return options.error();
      if (!options->filter_subject.empty() && options->account.empty()) {
        return Error{Errc::InvalidArgument,
                     "filter by subject only valid with account filtering"};
      }
      return compact(pages_.connz(*options));
    }
    case Kind::Routez: return compact_json(render_routez(pages_.head()));
    case Kind::Gatewayz: return compact_json(render_gatewayz(pages_.head()));
    case Kind::Leafz:
      return compact(pages_.leafz({reader.boolean("subscriptions"), reader.text("account")}));
    case Kind::Accountz: return compact(pages_.accountz(reader.text("account")));
    case Kind::Jsz: return compact(pages_.jsz(read_jsz_options(reader)));
    case Kind::Healthz: return healthz(read_healthz_options(reader));
    case Kind::Profilez: return profile_answer(reader);
    case Kind::Expvarz: {
      const auto varz = pages_.gather_varz();
      if (!varz) return Error{Errc::Unavailable, "the server is too busy or stopping"};
      return compact_json(render_expvarz(*varz));
    }
    case Kind::Ipqueuesz: return std::string("{}");
    case Kind::Raftz: return std::string("{}");
    default: return std::string();
  }
}

Result<std::string> SystemServices::account_document(const Request& request, OptionReader& reader) {
  using Kind = Service::Kind;
  switch (request.kind) {
    case Kind::AccountSubsz: {
      SubszOptions options = read_subsz_options(reader);
      options.subscriptions = true;
      options.account = request.account;
      return compact(pages_.subsz(options));
    }
    case Kind::AccountConnz: {
      auto options = read_connz_options(reader);
      if (!options) return options.error();
      options->account = request.account;
      return compact(pages_.connz(*options));
    }
    case Kind::AccountLeafz:
      return compact(pages_.leafz({reader.boolean("subscriptions"), request.account}));
    case Kind::AccountJsz: {
      JszOptions options = read_jsz_options(reader);
      options.account = request.account;
      return account_jsz(options);
    }
    case Kind::AccountInfo: return account_info(request.account);
    case Kind::AccountStatz:
    case Kind::AllAccountStatz: {
      const bool unused = reader.boolean("include_unused");
      std::vector<std::string> names = reader.texts("accounts");
      if (request.kind == Kind::AccountStatz) names = {request.account};
      auto document = compact(pages_.accstatz(names, unused));
      const bool is_empty = document && document->find("\"account_statz\":[]") != std::string::npos;
      if (is_empty && !unused) return std::string();
      return document;
    }
    default: return std::string();
  }
}

Result<std::string> SystemServices::healthz(const HealthzOptions& options) {
  const auto health = pages_.healthz(options);
  if (!health) return health.error();
  // In a reply the status is told beside the text; over HTTP it is the response's.
  std::string body = compact_json(health->body);
  const size_t at = body.find_first_of(",}");
  if (at != std::string::npos) {
    body.insert(at, ",\"status_code\":" + std::to_string(health->status));
  }
  return body;
}

// The one entry of account_details.
Result<std::string> SystemServices::account_jsz(JszOptions options) {
  options.accounts = true;
  const auto whole = pages_.jsz(options);
  if (!whole) return whole.error();
  const auto parsed = json::parse(*whole);
  const json::Value* details = parsed ? parsed->find("account_details") : nullptr;
  if (details == nullptr || details->items().empty()) {
    const auto known = pages_.account(options.account);
    const bool exists = known && *known;
    return Error{Errc::NotFound, "account \"" + options.account +
                                     (exists ? "\" not jetstream enabled" : "\" not found")};
  }
  json::Writer out;
  out.value(details->items().front());
  return out.take();
}

Result<std::string> SystemServices::account_info(const std::string& account) {
  const auto whole = pages_.accountz(account);
  if (!whole) return whole.error();
  const auto parsed = json::parse(*whole);
  const json::Value* detail = parsed ? parsed->find("account_detail") : nullptr;
  if (detail == nullptr) return Error{Errc::NotFound, "Account " + account + " does not exist"};
  json::Writer out;
  out.value(*detail);
  return out.take();
}

Result<std::string> SystemServices::notify(const Request& request, OptionReader& reader) {
  const uint64_t id = reader.unsigned_integer("cid");
  const Error busy{Errc::Unavailable, "the server is too busy or stopping"};
  if (request.kind == Service::Kind::Kick) {
    const auto kicked = pages_.survey().kick(id);
    if (!kicked) return busy;
    if (!*kicked) return Error{Errc::NotFound, "no such client or leafnode id"};
    return std::string();
  }
  const auto told = pages_.survey().announce_lame_duck(id);
  if (!told) return busy;
  switch (*told) {
    case Survey::Notified::NoSuchClient: return Error{Errc::NotFound, "no such client id"};
    case Survey::Notified::NotReady:
      return Error{Errc::Unsupported,
                   "client does not support Lame Duck Mode or is not ready to receive the "
                   "notification"};
    case Survey::Notified::Yes: break;
  }
  return std::string();
}

std::optional<std::string> SystemServices::count_subscribers(const Request& request) {
  std::string account = server_.snapshot()->settings->system_account;
  std::string subject;
  std::string queue;
  if (request.kind == Service::Kind::CountRequest) {
    OptionReader reader(request.body);
    account = reader.text("acc");
    subject = reader.text("subject");
    queue = reader.text("queue");
    if (reader.has_failed() || account.empty()) return std::nullopt;
    const auto known = pages_.account(account);
    if (!known || !*known || (*known)->connections + (*known)->leafnodes == 0) return std::nullopt;
  } else {
    const std::string_view text = trim(request.body);
    const size_t blank = text.find(' ');
    subject = text.substr(0, blank);
    if (blank != std::string_view::npos) queue = trim(text.substr(blank));
  }
  const auto count = pages_.survey().count_subscribers(account, subject, queue);
  if (!count) return std::nullopt;
  return std::to_string(*count);
}

// The whole message, for it differs from the documents; empty when the loops did not answer.
std::string SystemServices::statsz() {
  const auto varz = pages_.gather_varz();
  const auto accounts = pages_.survey().accounts();
  if (!varz || !accounts) return {};
  uint64_t active = 0;
  for (const AccountReport& account : *accounts) {
    if (account.connections + account.leafnodes > 0) ++active;
  }
  json::Writer out;
  out.begin_object().key("server").begin_object();
  identity_.write(out);
  out.end_object().key("statsz").begin_object();
  write_statsz(out, *varz, active);
  out.end_object().end_object();
  return out.take();
}

}  // namespace brokkr::broker
