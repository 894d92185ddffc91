#pragma once

#include <string>
#include <string_view>

namespace brokkr::workload {

// The inboxes of one workload, kept apart from everybody else's: what its programs call "_INBOX.x" is
// "_INBOX.<secret>.x" at the server. So a program that has seen where others await their replies can
// neither listen there nor answer in somebody's place. Immutable.
class Inboxes {
 public:
  explicit Inboxes(std::string_view secret) : prefix_("_INBOX." + std::string(secret) + ".") {}

  static bool is_inbox(std::string_view subject) { return subject.starts_with(kFirst); }
  // `subject` is an inbox, one of these with its secret allowed.
  std::string to_server(std::string_view subject) const {
    if (subject.starts_with(prefix_)) return std::string(subject);
    return prefix_ + std::string(subject.substr(kFirst.size()));
  }
  bool is_ours(std::string_view at_server) const { return at_server.starts_with(prefix_); }
  // `at_server` is one of ours. The text shares its bytes when `room` has taken it in.
  std::string_view to_program(std::string_view at_server, std::string& room) const {
    room.assign(kFirst).append(at_server.substr(prefix_.size()));
    return room;
  }

 private:
  static constexpr std::string_view kFirst = "_INBOX.";
  const std::string prefix_;
};

}  // namespace brokkr::workload
