#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

// What commands print: results on stdout, remarks and errors on stderr, colour and motion only on a
// terminal. Confined to the main thread.
namespace brokkr::cli {

void print(std::string_view text);  // stdout, as it is
void print_line(std::string_view text);
// "15:04:05 text" on stderr, as the nats CLI remarks what it does.
void remark(std::string_view text);
// "brokkr: error: text" on stderr; returns the exit code 1.
int fail(const std::string& program, std::string_view text);
int fail(const std::string& program, const Error& error);
// The words of an error as the nats CLI has them, where scripts may look for them.
std::string describe(const Error& error);

bool is_terminal_stdout();
bool is_terminal_stderr();
bool is_terminal_stdin();

// "15:04:05" and "Nov 23 15:04:05.000000" of local time.
std::string local_clock_text(WallTime);
std::string local_stamp_text(WallTime);
std::string local_date_text(WallTime);  // "2026-11-23 11:50:50"
// "2.83s", "1m3s", "97µs": a duration for people, three digits at most.
std::string short_duration(Duration);

// A table with a title and box lines, columns as wide as their content.
class Table {
 public:
  explicit Table(std::string title) : title_(std::move(title)) {}
  void header(std::vector<std::string> cells) {
    rows_.insert(rows_.begin(), std::move(cells));
    has_header_ = true;
  }
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  // The column's cells stand at its right end, as numbers do.
  void align_right(size_t column) { right_.push_back(column); }
  // A row below a line of its own, such as a sum.
  void footer(std::vector<std::string> cells) { footer_ = std::move(cells); }
  std::string text() const;

 private:
  std::string title_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::string> footer_;
  std::vector<size_t> right_;
  bool has_header_ = false;
};

// Columns on a terminal that `text` takes.
size_t display_width(std::string_view text);

// A bar on stderr's terminal, redrawn at most ten times a second; silent elsewhere.
class ProgressBar {
 public:
  ProgressBar(std::string label, uint64_t total, bool is_wanted);
  ~ProgressBar();
  void update(uint64_t done, MonotonicTime now);

 private:
  void draw(uint64_t done);
  const std::string label_;
  const uint64_t total_;
  const bool is_shown_;
  MonotonicTime next_{};
};

}  // namespace brokkr::cli
