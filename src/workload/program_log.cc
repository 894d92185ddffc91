#include "workload/program_log.h"

#include "protocol/headers.h"

namespace brokkr::workload {
namespace {

constexpr uint64_t kProgramLogBytesPerSecondMax = 4U << 20;

}  // namespace

ProgramLog::ProgramLog(const Deps& deps, const WorkloadIdentity& identity, uint32_t lines_per_second)
    : deps_(deps), identity_(identity),
      stdout_subject_(log_subject(identity.ns, identity.id, "stdout")),
      stderr_subject_(log_subject(identity.ns, identity.id, "stderr")),
      limit_(lines_per_second, kProgramLogBytesPerSecondMax) {
  protocol::HeaderWriter headers;
  headers.add("synadia.com/group", identity.name);
  headers.add("synadia.com/namespace", identity.ns);
  headers_ = headers.take();
}

void ProgramLog::write(bool is_stdout, std::string_view bytes) {
  LineSplitter& lines = is_stdout ? stdout_lines_ : stderr_lines_;
  lines.add(bytes, [&](std::string_view line) { add_line(is_stdout, line); });
}

void ProgramLog::finish_lines() {
  stdout_lines_.finish([&](std::string_view line) { add_line(true, line); });
  stderr_lines_.finish([&](std::string_view line) { add_line(false, line); });
}

void ProgramLog::note(std::string_view line) { publish(false, line); }

void ProgramLog::add_line(bool is_stdout, std::string_view line) {
  const MonotonicTime now = deps_.loop.now();
  if (limit_.has_dropped()) {
    if (const uint64_t count = limit_.take_dropped(now); count > 0) {
      note(std::to_string(count) + " log lines were dropped: too many a second");
    }
  }
  if (!limit_.admit(now, line.size())) {
    ++dropped_;
    return;
  }
  publish(is_stdout, line);
}

void ProgramLog::publish(bool is_stdout, std::string_view line) {
  kept_.add({deps_.loop.clock().wall_now(), is_stdout, std::string(line)});
  // Logs are worth nothing without a connection; the client counts what it refuses.
  const Status sent = deps_.connection.publish(is_stdout ? stdout_subject_ : stderr_subject_, line,
                                          {.reply = {}, .headers = headers_});
  if (!sent) ++dropped_;
  if (deps_.v1_feed != nullptr) {
    deps_.v1_feed->log(identity_, is_stdout ? v1::LogLevel::Info : v1::LogLevel::Error, line);
  }
}

}  // namespace brokkr::workload
