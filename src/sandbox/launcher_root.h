#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "sandbox/landlock.h"
#include "sandbox/launcher_protocol.h"

// The root folder of a sandbox. Everything it shows of the host is taken hold of first, then the
// host's files are left behind, and only then is anything put into place: a link inside the new root
// can lead nowhere else. Run in a new mount namespace, with its rights, by one thread.
namespace brokkr::sandbox {

class InnerRoot {
 public:
  // `root_map` is make_root_map's, or -1: what root owns in an image is then nobody's to change.
  InnerRoot(const LaunchOrder& order, int root_map) : order_(order), root_map_(root_map) {}
  ~InnerRoot();
  InnerRoot(const InnerRoot&) = delete;
  InnerRoot& operator=(const InnerRoot&) = delete;

  // Takes hold, mounts the new root, enters it and furnishes it; true when the program may execute
  // nothing it makes in memory. Fails with System or InvalidArgument, saying where.
  Status enter(bool has_pid_namespace);

  bool is_image() const { return !order_.spec.root.empty() || !order_.spec.lower.empty(); }
  bool forbids_memory_programs() const { return forbids_memory_programs_; }

 private:
  struct Tree {
    int fd;
    std::string target;
    bool is_folder;
  };
  struct Link {
    std::string target;
    std::string text;
  };
  Status hold(const std::string& source, const std::string& target, uint64_t attributes);
  void hold_if_there(const std::string& path);
  Status hold_all();
  Status mount_bare(const std::string& place);
  Status mount_image(const std::string& place);
  Status open_layers(std::vector<int>& opened) const;
  Status change_into(const std::string& place);
  Status furnish(bool has_pid_namespace);
  Status put_trees();
  Status put_devices();
  Status put_proc();
  void write_etc();

  const LaunchOrder& order_;
  const int root_map_;
  std::vector<Tree> devices_;
  std::vector<Tree> trees_;
  std::vector<Link> links_;
  bool forbids_memory_programs_ = false;
};

// What Landlock leaves a program of that root: with a root of its own, or on the host's files.
LandlockRules landlock_rules_for(const LaunchOrder&, bool has_own_root);

// Where the program's file is inside.
std::string inner_executable(const ProgramSpec&);

}  // namespace brokkr::sandbox
