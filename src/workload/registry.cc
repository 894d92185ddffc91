#include "workload/registry.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "base/bytes.h"
#include "base/json.h"
#include "sandbox/image_files.h"
#include "sandbox/image_manifest.h"
#include "workload/registry_http.h"

namespace brokkr::workload {
namespace {

using sandbox::image::OwnedFd;

constexpr uint64_t kTokenBytesMax = 1U << 20;
constexpr uint64_t kCredentialsBytesMax = 1U << 20;
constexpr auto kPullPause = std::chrono::milliseconds(250);
constexpr long kRegistryOk = 200;
constexpr long kRegistryUnauthorized = 401;
constexpr long kRegistryForbidden = 403;
constexpr long kRegistryNotFound = 404;
constexpr long kRegistryTooMany = 429;
constexpr long kRegistryServerError = 500;
constexpr const char* kAccept =
    "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json";

bool is_loopback_name(std::string_view registry) {
  const std::string_view host = registry.substr(0, registry.find_last_of(':'));
  return host == "localhost" || host.starts_with("127.") || host == "[::1]";
}

std::string read_credentials(const std::string& path, const std::string& registry) {
  if (path.empty()) return {};
  const OwnedFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return {};
  auto text = sandbox::image::read_all(file.get(), kCredentialsBytesMax, path);
  return text ? find_credentials(*text, registry) : std::string();
}

std::string url_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                          c == '-' || c == '.' || c == '_' || c == '~';
    if (is_plain) {
      out += c;
    } else {
      out += '%';
      out += hex_encode(std::string_view(&c, 1));
    }
  }
  return out;
}

// One image being pulled.
class Pull {
 public:
  Pull(sandbox::ImageStore& store, const RegistryReference& from, const RegistryOptions& options)
      : store_(store),
        from_(from),
        options_(options),
        is_plain_(options.allows_plain_loopback && is_loopback_name(from.registry)),
        http_({options.ca_file, is_plain_, allows_private(), options.is_cancelled}),
        credentials_(read_credentials(options.credentials_file, from.registry)) {}
  Result<std::string> run(FunctionRef<void(const std::string&, uint64_t)> on_blob);

 private:
  bool allows_private() const {
    const auto& hosts = options_.private_hosts;
    return is_plain_ || std::any_of(hosts.begin(), hosts.end(), [&](const std::string& host) {
             return host == "*" || host == from_.registry;
           });
  }
  bool is_cancelled() const { return options_.is_cancelled != nullptr && options_.is_cancelled->load(); }
  Status pause(int count);
  Status repeat(FunctionRef<Status()> attempt);
  Result<DownloadReply> get(const std::string& path, uint64_t body_max, const Downloader::Sink* sink = nullptr);
  Status authenticate(const DownloadReply&);
  Status fetch_token(const AuthChallenge&);
  Error refused(const DownloadReply&, const std::string& path) const;
  Result<std::string> fetch_manifest(const std::string& reference);
  Status fetch_blob(const std::string& digest, uint64_t size);

  sandbox::ImageStore& store_;
  const RegistryReference& from_;
  const RegistryOptions& options_;
  const bool is_plain_;
  Downloader http_;
  const std::string credentials_;
  std::string authorization_;  // a header
};

// Waits before another attempt, not deaf to a cancel.
Status Pull::pause(int count) {
  const auto end = std::chrono::steady_clock::now() + kPullPause * (1 << count);
  while (std::chrono::steady_clock::now() < end) {
    if (is_cancelled()) return Error{Errc::Closed, "cancelled"};
    std::this_thread::sleep_for(std::chrono::milliseconds(25));
  }
  return {};
}

Error Pull::refused(const DownloadReply& reply, const std::string& path) const {
  const std::string where = from_.registry + path;
  switch (reply.status) {
    case kRegistryNotFound: return Error{Errc::NotFound, where + " is not there"};
    case kRegistryUnauthorized:
    case kRegistryForbidden: return Error{Errc::PermissionDenied, "registry " + from_.registry + " refuses access to " + from_.repository};
    default: break;
  }
  const bool may_pass = reply.status == kRegistryTooMany || reply.status >= kRegistryServerError;
  return Error{may_pass ? Errc::Unavailable : Errc::InvalidArgument, where + ": status " + std::to_string(reply.status)};
}

// One attempt; asked for credentials, it shows them and asks again.
Result<DownloadReply> Pull::get(const std::string& path, uint64_t body_max, const Downloader::Sink* sink) {
  const std::string url = (is_plain_ ? "http://" : "https://") + from_.host() + path;
  for (bool has_authenticated = false;; has_authenticated = true) {
    std::vector<std::string> headers = {kAccept};
    if (!authorization_.empty()) headers.push_back(authorization_);
    auto reply = http_.get(url, headers, body_max, sink);
    if (!reply || reply->status == kRegistryOk) return reply;
    if (reply->status != kRegistryUnauthorized || has_authenticated) return refused(*reply, path);
    if (Status done = authenticate(*reply); !done) return done.error();
  }
}

Status Pull::repeat(FunctionRef<Status()> attempt) {
  for (int count = 1;; ++count) {
    Status done = attempt();
    if (done || done.error().code != Errc::Unavailable || count >= options_.attempts) return done;
    if (Status waited = pause(count); !waited) return waited;
  }
}

Status Pull::authenticate(const DownloadReply& reply) {
  for (const std::string& header : reply.challenges) {
    const AuthChallenge challenge = parse_challenge(header);
    if (challenge.scheme == "bearer") return fetch_token(challenge);
    if (challenge.scheme == "basic" && !credentials_.empty()) {
      authorization_ = "Authorization: Basic " + base64_encode(credentials_);
      return {};
    }
  }
  return Error{Errc::PermissionDenied, "registry " + from_.registry + " asks for credentials"};
}

Status Pull::fetch_token(const AuthChallenge& challenge) {
  const std::string scheme = is_plain_ ? "http://" : "https://";
  if (!challenge.realm.starts_with(scheme)) {
    return Error{Errc::PermissionDenied, "registry " + from_.registry + " sends credentials to '" + challenge.realm.substr(0, 200) + "'"};
  }
  const std::string scope = challenge.scope.empty() ? "repository:" + from_.repository + ":pull" : challenge.scope;
  std::string url = challenge.realm + (challenge.realm.find('?') == std::string::npos ? "?" : "&") + "scope=" + url_escaped(scope);
  if (!challenge.service.empty()) url += "&service=" + url_escaped(challenge.service);
  std::vector<std::string> headers;
  if (!credentials_.empty()) headers.push_back("Authorization: Basic " + base64_encode(credentials_));
  auto reply = http_.get(url, headers, kTokenBytesMax);
  if (!reply) return reply.error();
  if (reply->status != kRegistryOk) {
    return Error{Errc::PermissionDenied, "registry " + from_.registry + " gives no token: status " + std::to_string(reply->status)};
  }
  auto body = json::parse(reply->body);
  if (!body) return Error{Errc::Corrupt, "token of " + from_.registry + ": " + body.error().text};
  std::string_view token = body->get_string("token");
  if (token.empty()) token = body->get_string("access_token");
  const bool is_clean = std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 127; });
  if (token.empty() || !is_clean) return Error{Errc::Corrupt, "registry " + from_.registry + " gives no token"};
  authorization_ = "Authorization: Bearer " + std::string(token);
  return {};
}

// Puts the manifest into the store and returns its digest.
Result<std::string> Pull::fetch_manifest(const std::string& reference) {
  DownloadReply reply;
  Status done = repeat([&]() -> Status {
    auto got = get("/v2/" + from_.repository + "/manifests/" + reference, sandbox::image::kManifestBytesMax);
    if (!got) return got.error();
    reply = std::move(*got);
    return {};
  });
  if (!done) return done.error();
  const std::string digest = sandbox::image::digest_of(reply.body);
  const bool is_pinned = sandbox::image::is_digest(reference);
  if (is_pinned && digest != reference) {
    return Error{Errc::Corrupt, "manifest " + reference + " has digest " + digest};
  }
  if (sandbox::image::is_digest(reply.content_digest) && reply.content_digest != digest) {
    return Error{Errc::Corrupt, "manifest has digest " + digest + ", not " + reply.content_digest};
  }
  if (Status put = store_.put_blob(digest, reply.body); !put) return put.error();
  return digest;
}

Status Pull::fetch_blob(const std::string& digest, uint64_t size) {
  return repeat([&]() -> Status {
    auto writer = store_.begin_blob(digest, size);
    if (!writer) return writer.error();
    const auto take = [&](std::string_view bytes) { return (*writer)->write(bytes); };
    const Downloader::Sink sink(take);
    auto reply = get("/v2/" + from_.repository + "/blobs/" + digest, 0, &sink);
    return reply ? (*writer)->commit() : Status(reply.error());
  });
}

Result<std::string> Pull::run(FunctionRef<void(const std::string&, uint64_t)> on_blob) {
  // What is pinned and here already needs no question.
  std::string digest = from_.digest;
  if (digest.empty() || !store_.has_blob(digest)) {
    auto fetched = fetch_manifest(digest.empty() ? from_.tag : digest);
    if (!fetched) return fetched.error();
    digest = std::move(*fetched);
  }
  return store_.fetch(digest, 0, [&](const sandbox::ImageStore::Wanted& blob) -> Status {
    on_blob(blob.digest, blob.size);
    if (!blob.is_manifest) return fetch_blob(blob.digest, blob.size);
    auto fetched = fetch_manifest(blob.digest);
    return fetched ? Status() : Status(fetched.error());
  });
}

}  // namespace

AuthChallenge parse_challenge(std::string_view header) {
  AuthChallenge out;
  const size_t space = header.find(' ');
  out.scheme = to_lower(header.substr(0, space));
  if (space == std::string_view::npos) return out;
  std::string_view rest = header.substr(space + 1);
  while (!rest.empty()) {
    const size_t equals = rest.find('=');
    if (equals == std::string_view::npos) break;
    const std::string name = to_lower(trim(rest.substr(0, equals)));
    rest.remove_prefix(equals + 1);
    std::string value;
    if (rest.starts_with('"')) {
      size_t at = 1;
      for (; at < rest.size() && rest[at] != '"'; ++at) {
        if (rest[at] == '\\' && at + 1 < rest.size()) ++at;
        value += rest[at];
      }
      rest.remove_prefix(std::min(rest.size(), at + 1));
    } else {
      value = trim(rest.substr(0, rest.find(',')));
    }
    const size_t comma = rest.find(',');
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    if (name == "realm") out.realm = value;
    if (name == "service") out.service = value;
    if (name == "scope") out.scope = value;
  }
  return out;
}

std::string find_credentials(std::string_view config_json, std::string_view registry) {
  const auto config = json::parse(config_json);
  if (!config) return {};
  const json::Value* all = config->find("auths");
  if (all == nullptr) return {};
  const std::string name(registry);
  for (const std::string& key : {name, "https://" + name, "https://" + name + "/v2/", "https://" + name + "/",
                                 registry == "docker.io" ? std::string("https://index.docker.io/v1/") : name}) {
    const json::Value* one = all->find(key);
    if (one == nullptr) continue;
    if (const std::string_view auth = one->get_string("auth"); !auth.empty()) {
      return base64_decode(auth).value_or("");
    }
    const std::string_view user = one->get_string("username");
    if (!user.empty()) return std::string(user) + ":" + std::string(one->get_string("password"));
  }
  return {};
}

Result<RegistrySettings> read_registry_settings(const std::string& path) {
  RegistrySettings out;
  const OwnedFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file && errno == ENOENT) return out;
  if (!file) return system_error(path.c_str(), errno);
  auto text = sandbox::image::read_all(file.get(), kCredentialsBytesMax, path);
  if (!text) return text.error();
  const auto settings = json::parse(*text);
  if (!settings || !settings->is_object()) return Error{Errc::Syntax, path + " is no JSON object"};
  out.options.ca_file = settings->get_string("ca_file");
  out.options.credentials_file = settings->get_string("credentials_file");
  out.options.allows_plain_loopback = settings->get_bool("plain_loopback");
  out.allows_local_paths = settings->get_bool("local_paths", true);
  const std::string unused(settings->get_string("images_unused"));
  if (!unused.empty() && (!parse_go_duration(unused, out.images_unused_max) || out.images_unused_max < Duration::zero())) {
    return Error{Errc::Syntax, path + ": \"images_unused\" is no duration"};
  }
  const int64_t bytes = settings->get_int("images_bytes", static_cast<int64_t>(out.images_bytes_max));
  if (bytes <= 0) return Error{Errc::Syntax, path + ": \"images_bytes\" must be more than 0"};
  out.images_bytes_max = static_cast<uint64_t>(bytes);
  if (const json::Value* hosts = settings->find("private_hosts"); hosts != nullptr) {
    for (const json::Value& host : hosts->items()) out.options.private_hosts.emplace_back(host.as_string());
  }
  return out;
}

Result<std::string> pull_image(sandbox::ImageStore& store, const RegistryReference& from,
                               const RegistryOptions& options,
                               FunctionRef<void(const std::string&, uint64_t)> on_blob) {
  return Pull(store, from, options).run(on_blob);
}

}  // namespace brokkr::workload
