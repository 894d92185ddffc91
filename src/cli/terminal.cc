#include "cli/terminal.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>

#include "base/bytes.h"

namespace brokkr::cli {
namespace {

std::tm local_parts(WallTime time) {
  const std::time_t seconds =
      std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
  std::tm parts{};
  localtime_r(&seconds, &parts);
  return parts;
}

std::string repeat(const char* text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

}  // namespace

void print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

void print_line(std::string_view text) {
  print(text);
  std::fputc('\n', stdout);
}

void remark(std::string_view text) {
  std::fflush(stdout);
  const std::string line =
      local_clock_text(SystemClock().wall_now()) + " " + std::string(text) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

int fail(const std::string& program, std::string_view text) {
  std::fflush(stdout);
  const std::string line = program + ": error: " + std::string(text) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
  return 1;
}

std::string describe(const Error& error) {
  switch (error.code) {
    case Errc::NoResponders: return "No responders are available";
    case Errc::TimedOut: return "nats: timeout: " + error.text;
    case Errc::InvalidSubject: return "nats: " + error.text;
    default: return error.text;
  }
}

int fail(const std::string& program, const Error& error) {
  return fail(program, describe(error));
}

bool is_terminal_stdout() { return isatty(STDOUT_FILENO) == 1; }
bool is_terminal_stderr() { return isatty(STDERR_FILENO) == 1; }
bool is_terminal_stdin() { return isatty(STDIN_FILENO) == 1; }

std::string local_clock_text(WallTime time) {
  const std::tm parts = local_parts(time);
  char text[16];
  return {text, std::strftime(text, sizeof text, "%H:%M:%S", &parts)};
}

std::string local_date_text(WallTime time) {
  const std::tm parts = local_parts(time);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts)};
}

std::string local_stamp_text(WallTime time) {
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(
                          time.time_since_epoch())
                          .count() %
                      1'000'000;
  char fraction[16];
  std::snprintf(fraction, sizeof fraction, ".%06d", static_cast<int>(micros));
  const std::tm parts = local_parts(time);
  char text[32];
  return std::string(text, std::strftime(text, sizeof text, "%b %e %H:%M:%S", &parts)) + fraction;
}

std::string short_duration(Duration duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  char text[32];
  if (seconds < 1e-6) {
    std::snprintf(text, sizeof text, "%dns", static_cast<int>(duration.count()));
  } else if (seconds < 1e-3) {
    std::snprintf(text, sizeof text, "%.0fµs", seconds * 1e6);
  } else if (seconds < 1) {
    std::snprintf(text, sizeof text, "%.2fms", seconds * 1e3);
  } else if (seconds < 60) {
    std::snprintf(text, sizeof text, "%.2fs", seconds);
  } else {
    return format_uptime(duration);
  }
  return text;
}

size_t display_width(std::string_view text) {
  size_t width = 0;
  for (const char c : text) width += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return width;
}

std::string Table::text() const {
  std::vector<size_t> widths;
  auto rows = rows_;
  if (!footer_.empty()) rows.push_back(footer_);
  for (const auto& cells : rows) {
    widths.resize(std::max(widths.size(), cells.size()));
    for (size_t i = 0; i < cells.size(); ++i) {
      widths[i] = std::max(widths[i], display_width(cells[i]));
    }
  }
  size_t inner = 0;
  for (const size_t width : widths) inner += width + 3;
  if (inner > 0) --inner;
  if (const size_t need = display_width(title_) + 2; need > inner && !widths.empty()) {
    widths.back() += need - inner;
    inner = need;
  }
  const auto line = [&](const char* left, const char* middle, const char* right) {
    std::string out = left;
    for (size_t i = 0; i < widths.size(); ++i) {
      if (i > 0) out += middle;
      out += repeat("─", widths[i] + 2);
    }
    return out + right + "\n";
  };
  // A column in which no row has anything is taken for numbers, as that of its sum.
  auto right = right_;
  for (size_t i = 0; i < widths.size(); ++i) {
    const auto has_cell = [&](const auto& cells) { return i < cells.size(); };
    if (std::none_of(rows_.begin() + (has_header_ ? 1 : 0), rows_.end(), has_cell)) right.push_back(i);
  }
  const auto row = [&](const std::vector<std::string>& cells) {
    std::string out;
    for (size_t i = 0; i < widths.size(); ++i) {
      const std::string cell = i < cells.size() ? cells[i] : std::string();
      const std::string blank(widths[i] - display_width(cell), ' ');
      const bool is_right = std::find(right.begin(), right.end(), i) != right.end();
      out += "│ " + (is_right ? blank + cell : cell + blank) + " ";
    }
    return out + "│\n";
  };
  std::string out;
  if (!title_.empty()) {
    const size_t blank = inner - display_width(title_);
    out += "╭" + repeat("─", inner) + "╮\n│" + std::string(blank - blank / 2, ' ') + title_ +
           std::string(blank / 2, ' ') + "│\n" + line("├", "┬", "┤");
  } else {
    out += line("╭", "┬", "╮");
  }
  for (size_t i = 0; i < rows_.size(); ++i) {
    out += row(rows_[i]);
    if (i == 0 && has_header_) out += line("├", "┼", "┤");
  }
  const bool has_rows = rows_.size() > (has_header_ ? 1 : 0);
  if (!footer_.empty()) out += (has_rows ? line("├", "┼", "┤") : "") + row(footer_);
  return out + line("╰", "┴", "╯");
}

ProgressBar::ProgressBar(std::string label, uint64_t total, bool is_wanted)
    : label_(std::move(label)),
      total_(total),
      is_shown_(is_wanted && total > 0 && is_terminal_stderr()) {}

ProgressBar::~ProgressBar() {
  if (is_shown_) std::fputs("\r\x1b[K", stderr);
}

void ProgressBar::update(uint64_t done, MonotonicTime now) {
  if (!is_shown_ || now < next_) return;
  next_ = now + std::chrono::milliseconds(100);
  draw(done);
}

void ProgressBar::draw(uint64_t done) {
  constexpr size_t kCells = 40;
  const size_t filled = static_cast<size_t>(std::min(done, total_) * kCells / total_);
  const std::string line = "\r" + label_ + " [" + std::string(filled, '=') +
                           std::string(kCells - filled, '-') + "] " +
                           std::to_string(std::min(done, total_) * 100 / total_) + "%";
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace brokkr::cli
