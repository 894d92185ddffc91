#include "workload/node_identity.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/bytes.h"
#include "workload/folders.h"

namespace brokkr::workload {
namespace {

constexpr mode_t kSecretMode = 0600;

// The text of a file, empty when there is none.
std::string read_seed_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  char text[256];
  const ssize_t n = read(fd, text, sizeof text);
  close(fd);
  return std::string(trim(std::string_view(text, n > 0 ? static_cast<size_t>(n) : 0)));
}

Status write_seed_file(const std::string& path, const std::string& seed) {
  const std::string temporary = path + ".part";
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kSecretMode);
  if (fd < 0) return system_error(temporary.c_str(), errno);
  const std::string text = seed + "\n";
  bool is_written = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  is_written = fsync(fd) == 0 && is_written;
  close(fd);
  if (is_written && rename(temporary.c_str(), path.c_str()) == 0) return {};
  const int error = errno;
  unlink(temporary.c_str());
  return system_error(path.c_str(), error);
}

// The key of a seed file; a new one, stored, when there is no such file.
template <typename Key>
Result<Key> load_key(const std::string& path, Key (*make)()) {
  const std::string text = read_seed_file(path);
  if (text.empty()) {
    Key key = make();
    if (Status kept = write_seed_file(path, key.seed()); !kept) return kept.error();
    return key;
  }
  Result<Key> key = Key::from_seed(text);
  if (!key) return Error{Errc::Syntax, path + " holds no seed of the kind it should"};
  return key;
}

crypto::KeyPair make_node_key() { return crypto::KeyPair::generate(crypto::NkeyType::Server); }

}  // namespace

NodeIdentity::NodeIdentity(crypto::KeyPair key, crypto::CurveKey xkey, int lock_fd)
    : key_(std::move(key)), xkey_(std::move(xkey)), lock_fd_(lock_fd) {}

NodeIdentity::NodeIdentity(NodeIdentity&& other) noexcept
    : key_(std::move(other.key_)), xkey_(std::move(other.xkey_)),
      lock_fd_(std::exchange(other.lock_fd_, -1)) {}

NodeIdentity::~NodeIdentity() {
  if (lock_fd_ >= 0) close(lock_fd_);
}

NodeIdentity NodeIdentity::generate() {
  return {make_node_key(), crypto::CurveKey::generate(), -1};
}

Result<NodeIdentity> NodeIdentity::load(const std::string& folder) {
  if (!make_folders(folder)) return generate();
  const int lock_fd = ::open((folder + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kSecretMode);
  if (lock_fd < 0) return generate();
  if (flock(lock_fd, LOCK_EX | LOCK_NB) != 0) {
    close(lock_fd);
    return generate();
  }
  auto key = load_key<crypto::KeyPair>(folder + "/node.nk", make_node_key);
  auto xkey = key ? load_key<crypto::CurveKey>(folder + "/node.xk", crypto::CurveKey::generate)
                  : Result<crypto::CurveKey>(key.error());
  if (!xkey) {
    close(lock_fd);
    return xkey.error();
  }
  return NodeIdentity(std::move(*key), std::move(*xkey), lock_fd);
}

}  // namespace brokkr::workload
