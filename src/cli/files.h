#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace brokkr::cli {

// The whole file; fails with System naming it, or LimitExceeded when it is longer than `bytes_max`.
Result<std::string> read_file(const std::string& path, size_t bytes_max);
// Only for its owner to read; replaces what was there.
Status write_file(const std::string& path, std::string_view text);
// Replaces the file at once, or leaves it as it is; the folders above it are made for the owner only.
Status replace_file(const std::string& path, std::string_view text, unsigned mode = 0600);
Status make_folders(const std::string& path);
bool is_file(const std::string& path);
bool is_folder(const std::string& path);
// Where the user's files are: $HOME, else what the password file says.
std::string home_folder();
// $XDG_CONFIG_HOME or ~/.config; $XDG_DATA_HOME or ~/.local/share.
std::string config_home();
std::string data_home();
// The names in a folder, sorted, without those that begin with a point.
Result<std::vector<std::string>> list_folder(const std::string& path);
// What the user's EDITOR makes of `text`. Fails when there is none or it fails.
Result<std::string> edit_text(std::string_view text, const std::string& suffix);
// Until its end.
Result<std::string> read_stdin(size_t bytes_max);
// One line without its end; absent at the end of the stream.
std::optional<std::string> read_stdin_line();

// "a 'b c' \"d\" e\ f" as a shell splits it, without expanding anything.
Result<std::vector<std::string>> split_words(std::string_view text);

// Runs a program, found by PATH, with `input` on its stdin and variables set beside ours; its
// stdout, and whether it ended with 0. No shell reads the words.
struct ProgramResult {
  std::string output;
  bool is_success = false;
};
Result<ProgramResult> run_program(
    const std::vector<std::string>& words, std::string_view input,
    std::initializer_list<std::pair<const char*, std::string>> environment);

}  // namespace brokkr::cli
