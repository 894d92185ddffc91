#include "cli/prompt.h"

#include <algorithm>
#include <cstdio>
#include <termios.h>
#include <unistd.h>

#include "base/bytes.h"
#include "cli/command.h"
#include "cli/files.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr size_t kPageRows = 15;

Error no_terminal(const char* what) {
  return {Errc::Unavailable, std::string("cannot ") + what + " without a terminal"};
}
Error given_up() { return {Errc::Closed, "interrupt"}; }

Result<std::string> read_answer(const std::string& prompt) {
  print("? " + prompt + " ");
  std::fflush(stdout);
  auto line = read_stdin_line();
  if (!line) return given_up();
  return std::string(trim(*line));
}

constexpr tcflag_t kSingleKeys = ICANON | ECHO | ISIG;

// The terminal without some of its ways, for as long as it lives.
class KeyMode {
 public:
  explicit KeyMode(tcflag_t without = kSingleKeys) {
    tcgetattr(STDIN_FILENO, &before_);
    termios raw = before_;
    raw.c_lflag &= ~without;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  ~KeyMode() { tcsetattr(STDIN_FILENO, TCSANOW, &before_); }

 private:
  termios before_{};
};

// The list below a question: what is shown, which one is chosen.
class Picker {
 public:
  Picker(std::string_view question, const std::vector<std::string>& choices,
         std::string_view default_text)
      : question_(question), choices_(choices) {
    const auto found = std::find(choices.begin(), choices.end(), default_text);
    if (found != choices.end()) at_ = static_cast<size_t>(found - choices.begin());
  }

  Result<std::string> run() {
    const KeyMode mode;
    while (true) {
      draw();
      char key = 0;
      if (read(STDIN_FILENO, &key, 1) != 1) return given_up();
      const auto matching = find_matching();
      if (key == '\r' || key == '\n') {
        if (matching.empty()) continue;
        const std::string answer = matching[at_];
        finish(answer);
        return answer;
      }
      if (key == 3 || key == 4) return given_up();
      on_key(key, matching.size());
    }
  }

 private:
  std::vector<std::string> find_matching() const {
    std::vector<std::string> out;
    for (const std::string& choice : choices_) {
      if (to_lower(choice).find(to_lower(filter_)) != std::string::npos) out.push_back(choice);
    }
    return out;
  }

  void on_key(char key, size_t count) {
    if (key == 27) {
      char rest[2] = {};
      if (read(STDIN_FILENO, rest, 2) == 2 && count > 0) {
        if (rest[1] == 'A') at_ = (at_ + count - 1) % count;
        if (rest[1] == 'B') at_ = (at_ + 1) % count;
      }
    } else if (key == 127 || key == 8) {
      if (!filter_.empty()) filter_.pop_back();
      at_ = 0;
    } else if (key >= 32) {
      filter_ += key;
      at_ = 0;
    }
  }

  void erase() {
    if (rows_ > 0) print("\x1b[" + std::to_string(rows_) + "A\r\x1b[J");
    rows_ = 0;
  }

  void draw() {
    erase();
    const auto matching = find_matching();
    at_ = matching.empty() ? 0 : std::min(at_, matching.size() - 1);
    print("? " + question_ + (filter_.empty() ? "" : " " + filter_) +
          "  [Use arrows to move, type to filter]\n");
    const size_t first = at_ >= kPageRows ? at_ - kPageRows + 1 : 0;
    const size_t end = std::min(matching.size(), first + kPageRows);
    for (size_t i = first; i < end; ++i) print((i == at_ ? "> " : "  ") + matching[i] + "\n");
    rows_ = 1 + end - first;
    std::fflush(stdout);
  }

  void finish(const std::string& answer) {
    erase();
    print_line("? " + question_ + " " + answer);
    std::fflush(stdout);
  }

  const std::string question_;
  const std::vector<std::string>& choices_;
  std::string filter_;
  size_t at_ = 0;
  size_t rows_ = 0;
};

}  // namespace

bool is_terminal() { return is_terminal_stdin() && is_terminal_stdout(); }

Result<bool> ask_yes(std::string_view question, bool is_yes_default) {
  if (!is_terminal()) return no_terminal("ask for confirmation");
  while (true) {
    auto answer = read_answer(std::string(question) + (is_yes_default ? " (Y/n)" : " (y/N)"));
    if (!answer) return answer.error();
    const std::string word = to_lower(*answer);
    if (word.empty()) return is_yes_default;
    if (word == "y" || word == "yes") return true;
    if (word == "n" || word == "no") return false;
    print_line("X Sorry, your reply was invalid: \"" + *answer +
               "\" is not a valid answer, please try again.");
  }
}

Result<std::string> ask_text(std::string_view question, std::string_view default_text,
                             bool is_required) {
  if (!is_terminal()) return no_terminal("prompt for user input");
  std::string prompt(question);
  if (!default_text.empty()) prompt += " (" + std::string(default_text) + ")";
  while (true) {
    auto answer = read_answer(prompt);
    if (!answer) return answer.error();
    if (!answer->empty()) return answer;
    if (!default_text.empty() || !is_required) return std::string(default_text);
    print_line("X Sorry, your reply was invalid: Value is required");
  }
}

Result<std::string> ask_hidden(std::string_view question) {
  if (!is_terminal()) return no_terminal("prompt for user input");
  const KeyMode mode(ECHO);
  auto answer = read_answer(std::string(question));
  print("\n");
  return answer;
}

Result<int64_t> ask_number(std::string_view question, std::string_view default_text) {
  if (!is_terminal()) return no_terminal("ask for confirmation");
  auto answer = ask_text(question, default_text, true);
  if (!answer) return answer.error();
  const auto number = parse_int(*answer);
  if (!number) return Error{Errc::InvalidArgument, "\"" + *answer + "\" is no number"};
  return *number;
}

Result<int64_t> ask_bytes(std::string_view question, std::string_view default_text) {
  if (!is_terminal()) return no_terminal("ask for confirmation");
  auto answer = ask_text(question, default_text, true);
  if (!answer) return answer.error();
  return *answer == "-1" ? Result<int64_t>(int64_t{0}) : parse_bytes(*answer);
}

Result<std::string> ask_choice(std::string_view question, const std::vector<std::string>& choices,
                               std::string_view default_text) {
  if (!is_terminal()) return no_terminal("prompt for user input");
  return Picker(question, choices, default_text).run();
}

Result<int64_t> parse_bytes(std::string_view text) {
  text = trim(text);
  if (text.empty() || text.front() == '-') return int64_t{-1};
  uint64_t size = 0;
  if (!parse_size(text, size)) {
    return Error{Errc::InvalidArgument, "invalid bytes specification " + std::string(text) +
                                            ": bytes must end in B, K, KB, M, MB, G, GB, T or TB"};
  }
  return static_cast<int64_t>(size);
}

}  // namespace brokkr::cli
