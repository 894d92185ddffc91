#include "auth/jwt_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "crypto/digest.h"
#include "crypto/jwt.h"
#include "crypto/nkey.h"

namespace brokkr::auth {
namespace {

constexpr std::string_view kSuffix = ".jwt";
constexpr size_t kTokenMax = crypto::kTokenBytesMax;

Error system_error(const std::string& what) {
  return Error{errno == ENOENT ? Errc::NotFound : Errc::System,
               what + ": " + std::strerror(errno)};
}

Error bad_key() { return Error{Errc::InvalidArgument, "invalid public key"}; }

class OpenFile {
 public:
  explicit OpenFile(int fd) : fd_(fd) {}
  ~OpenFile() {
    if (fd_ >= 0) close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

Result<std::string> read_token_file(const std::string& path) {
  const OpenFile file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (file.fd() < 0) return system_error(path);
  std::string out;
  char buffer[16384];
  while (out.size() <= kTokenMax) {
    const ssize_t got = read(file.fd(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error(path);
    if (got == 0) return out;
    out.append(buffer, static_cast<size_t>(got));
  }
  return Error{Errc::LimitExceeded, path + " is too large for a JWT"};
}

Status make_folders(const std::string& path) {
  for (size_t i = 1; i <= path.size(); ++i) {
    if (i < path.size() && path[i] != '/') continue;
    const std::string part = path.substr(0, i);
    if (mkdir(part.c_str(), 0750) != 0 && errno != EEXIST) return system_error(part);
  }
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return system_error(path);
  if (!S_ISDIR(info.st_mode)) {
    return Error{Errc::InvalidArgument, "the path [" + path + "] is not a directory"};
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<JwtDirectory>> JwtDirectory::open(Options options, const Clock& clock) {
  if (Status made = make_folders(options.path); !made) return made.error();
  std::unique_ptr<JwtDirectory> directory(new JwtDirectory(std::move(options), clock));
  DIR* const listing = opendir(directory->options_.path.c_str());
  if (listing == nullptr) return system_error(directory->options_.path);
  std::vector<std::string> ids;
  while (const dirent* entry = readdir(listing)) {
    const std::string_view name(entry->d_name);
    if (!name.ends_with(kSuffix)) continue;
    const std::string_view id = name.substr(0, name.size() - kSuffix.size());
    if (crypto::is_public_key(id, crypto::NkeyType::Account)) ids.emplace_back(id);
  }
  closedir(listing);
  for (const std::string& id : ids) {
    const auto jwt = read_token_file(directory->file_of(id));
    if (jwt && !jwt->empty()) directory->track(id, *jwt);
  }
  return directory;
}

std::string JwtDirectory::file_of(std::string_view id) const {
  return options_.path + "/" + std::string(id) + std::string(kSuffix);
}

void JwtDirectory::touch(Entry& entry) {
  entry.used = clock_.wall_now();
  by_use_.splice(by_use_.end(), by_use_, entry.place);
}

void JwtDirectory::track(const std::string& id, std::string_view jwt) {
  auto [found, is_new] = entries_.try_emplace(id);
  Entry& entry = found->second;
  if (is_new) entry.place = by_use_.insert(by_use_.end(), id);
  entry.hash = crypto::sha256(jwt);
  const auto claims = crypto::decode_generic(jwt);
  entry.expires = claims ? claims->exp : 0;
  touch(entry);
}

void JwtDirectory::forget(const std::string& id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  by_use_.erase(found->second.place);
  entries_.erase(found);
}

Result<std::string> JwtDirectory::load(std::string_view id) {
  if (!crypto::is_public_key(id, crypto::NkeyType::Account)) return bad_key();
  auto jwt = read_token_file(file_of(id));
  if (!jwt) return jwt;
  const auto found = entries_.find(id);
  if (found == entries_.end()) {
    track(std::string(id), *jwt);
  } else {
    touch(found->second);
  }
  return jwt;
}

Status JwtDirectory::make_room() {
  if (options_.limit == 0 || entries_.size() < options_.limit) return {};
  if (!options_.evicts) return Error{Errc::LimitExceeded, "jwt store is full"};
  const std::string oldest = by_use_.front();
  if (unlink(file_of(oldest).c_str()) != 0 && errno != ENOENT) return system_error(oldest);
  forget(oldest);
  return {};
}

// Under another name first: who reads meanwhile finds the old one or the new one.
Status JwtDirectory::write_file(const std::string& id, std::string_view jwt) const {
  const std::string path = file_of(id);
  const std::string temporary = path + ".new";
  {
    const OpenFile file(
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640));
    if (file.fd() < 0) return system_error(temporary);
    while (!jwt.empty()) {
      const ssize_t put = write(file.fd(), jwt.data(), jwt.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return system_error(temporary);
      jwt.remove_prefix(static_cast<size_t>(put));
    }
    if (fsync(file.fd()) != 0) return system_error(temporary);
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) return system_error(path);
  const OpenFile folder(::open(options_.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.fd() >= 0 && fsync(folder.fd()) != 0) return system_error(options_.path);
  return {};
}

Result<bool> JwtDirectory::save(const std::string& id, std::string_view jwt) {
  if (!crypto::is_public_key(id, crypto::NkeyType::Account)) return bad_key();
  if (jwt.empty() || jwt.size() > kTokenMax) return Error{Errc::InvalidArgument, "invalid JWT"};
  const auto found = entries_.find(id);
  if (found != entries_.end() && found->second.hash == crypto::sha256(jwt)) {
    touch(found->second);
    return false;
  }
  if (found == entries_.end()) {
    if (Status room = make_room(); !room) return room.error();
  }
  if (Status written = write_file(id, jwt); !written) return written.error();
  track(id, jwt);
  return true;
}

Result<bool> JwtDirectory::save_if_newer(const std::string& id, std::string_view jwt) {
  const auto claims = crypto::decode_generic(jwt);
  if (!claims) return claims.error();
  if (claims->sub != id) {
    return Error{Errc::InvalidArgument, "jwt subject nkey and provided nkey do not match"};
  }
  if (const auto existing = load(id)) {
    const auto old = crypto::decode_generic(*existing);
    if (old && (old->jti == claims->jti || old->iat > claims->iat)) return false;
  }
  return save(id, jwt);
}

Result<bool> JwtDirectory::remove(const std::string& id) {
  if (!crypto::is_public_key(id, crypto::NkeyType::Account)) return bad_key();
  if (!may_delete()) return Error{Errc::LimitExceeded, "store is not set up to for delete"};
  const std::string path = file_of(id);
  const int done = options_.deletion == Deletion::Rename
                       ? rename(path.c_str(), (path + ".deleted").c_str())
                       : unlink(path.c_str());
  if (done != 0 && errno != ENOENT) return system_error(path);
  forget(id);
  return done == 0;
}

std::string JwtDirectory::digest() const {
  std::string out(32, '\0');
  for (const auto& [id, entry] : entries_) {
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = static_cast<char>(out[i] ^ entry.hash[i]);
    }
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> JwtDirectory::list() {
  const int64_t now =
      std::chrono::duration_cast<std::chrono::seconds>(clock_.wall_now().time_since_epoch())
          .count();
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [id, entry] : entries_) {
    if (entry.expires > 0 && entry.expires < now) continue;
    auto jwt = read_token_file(file_of(id));
    if (jwt && !jwt->empty()) out.emplace_back(id, std::move(*jwt));
  }
  return out;
}

void JwtDirectory::expire() {
  if (options_.ttl <= Duration::zero()) return;
  const WallTime now = clock_.wall_now();
  while (!by_use_.empty()) {
    const std::string oldest = by_use_.front();
    if (now - entries_.find(oldest)->second.used < options_.ttl) return;
    unlink(file_of(oldest).c_str());
    forget(oldest);
  }
}

}  // namespace brokkr::auth
