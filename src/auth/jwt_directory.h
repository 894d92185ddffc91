#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace brokkr::auth {

// JWTs of accounts as files, "<public key>.jwt", in nats-server's layout. Only public keys of
// accounts name files, so no request reaches another path. Files are replaced whole. Blocks; used by
// one thread at a time.
class JwtDirectory {
 public:
  enum class Deletion : uint8_t { No, Rename, Remove };
  struct Options {
    std::string path;
    Deletion deletion = Deletion::No;
    size_t limit = 0;          // files at most; 0: any number
    bool evicts = false;       // at the limit the least recently used goes; else it is an error
    Duration ttl{};            // unused ones go after that; zero: they stay
  };
  // Makes the folder when it is not there, and reads what is in it.
  static Result<std::unique_ptr<JwtDirectory>> open(Options options, const Clock& clock);

  // NotFound when there is none.
  Result<std::string> load(std::string_view id);
  // Whether anything changed.
  Result<bool> save(const std::string& id, std::string_view jwt);
  // The same unless what is there was issued later.
  Result<bool> save_if_newer(const std::string& id, std::string_view jwt);
  // Whether it was there. LimitExceeded, and nothing happens, where deletion is off.
  Result<bool> remove(const std::string& id);

  // A digest over all that are there: the same for the same tokens.
  std::string digest() const;
  // All that have not expired.
  std::vector<std::pair<std::string, std::string>> list();
  // Forgets those unused for the ttl.
  void expire();
  size_t size() const { return entries_.size(); }
  bool may_delete() const { return options_.deletion != Deletion::No; }
  const std::string& path() const { return options_.path; }

 private:
  struct Entry {
    std::string hash;
    int64_t expires = 0;  // of the JWT; 0: never
    WallTime used{};
    std::list<std::string>::iterator place;  // in by_use_
  };
  JwtDirectory(Options options, const Clock& clock) : options_(std::move(options)), clock_(clock) {}
  std::string file_of(std::string_view id) const;
  void track(const std::string& id, std::string_view jwt);
  void forget(const std::string& id);
  void touch(Entry& entry);
  Status make_room();
  Status write_file(const std::string& id, std::string_view jwt) const;

  Options options_;
  const Clock& clock_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::list<std::string> by_use_;  // the least recently used first
};

}  // namespace brokkr::auth
