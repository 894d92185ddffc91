#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "client/connection.h"
#include "io/loop.h"
#include "workload/control.h"
#include "workload/kept_log.h"
#include "workload/line_splitter.h"
#include "workload/log_limiter.h"
#include "workload/nex_v1_feed.h"
#include "workload/workload.h"

namespace brokkr::workload {

// What a program writes, line by line: kept for those who ask later and published for those who
// follow. What goes beyond so many lines a second is dropped and counted. Loop-confined.
class ProgramLog {
 public:
  struct Deps {
    io::Loop& loop;
    client::Connection& connection;
    NexV1Feed* v1_feed = nullptr;  // null: nobody is told in words of Nex 0.2.7
  };
  // The identity outlives this.
  ProgramLog(const Deps&, const WorkloadIdentity& identity, uint32_t lines_per_second);

  void write(bool is_stdout, std::string_view bytes);
  // The program has ended: unfinished lines are lines now.
  void finish_lines();
  // A line of our own, among those on stderr; never dropped.
  void note(std::string_view line);

  const KeptLog& kept() const { return kept_; }
  uint64_t dropped() const { return dropped_; }

 private:
  void add_line(bool is_stdout, std::string_view line);
  void publish(bool is_stdout, std::string_view line);

  const Deps deps_;
  const WorkloadIdentity& identity_;
  const std::string stdout_subject_;
  const std::string stderr_subject_;
  std::string headers_;
  LineSplitter stdout_lines_;
  LineSplitter stderr_lines_;
  LogLimiter limit_;
  KeptLog kept_;
  uint64_t dropped_ = 0;
};

}  // namespace brokkr::workload
