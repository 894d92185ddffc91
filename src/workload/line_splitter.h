#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace brokkr::workload {

// Cuts what a program writes into lines, without their ends. The beginning of a line is kept until its
// rest comes; a line that grows too long is cut. A value type.
class LineSplitter {
 public:
  static constexpr size_t kLineBytesMax = 16U << 10;

  template <typename F>
  void add(std::string_view bytes, F&& on_line) {
    while (!bytes.empty()) {
      const size_t end = bytes.find('\n');
      std::string_view piece = bytes.substr(0, end);
      const size_t room = kLineBytesMax - kept_.size();
      const bool is_cut = piece.size() > room;
      piece = piece.substr(0, room);
      bytes.remove_prefix(piece.size());
      if (!is_cut && end == std::string_view::npos) {
        kept_ += piece;
        return;
      }
      if (!is_cut) bytes.remove_prefix(1);
      emit(piece, on_line);
    }
  }
  // The program has ended: what is left is a line.
  template <typename F>
  void finish(F&& on_line) {
    if (!kept_.empty()) emit({}, on_line);
  }

 private:
  template <typename F>
  void emit(std::string_view rest, F&& on_line) {
    if (kept_.empty()) return on_line(without_return(rest));
    std::string line = std::move(kept_);
    kept_.clear();
    line += rest;
    on_line(without_return(line));
  }
  static std::string_view without_return(std::string_view line) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
  }

  std::string kept_;
};

}  // namespace brokkr::workload
