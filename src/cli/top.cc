// brokkr top: one server's load and connections, drawn again and again, or once into a file.

#include <netdb.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <optional>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/connection_report.h"
#include "cli/files.h"
#include "cli/system_api.h"
#include "cli/terminal.h"
#include "cli/top_text.h"

namespace brokkr::cli {
namespace {

const std::vector<std::string> kTopSorts{
    "cid",        "start", "subs", "pending", "msgs_to", "msgs_from", "bytes_to",
    "bytes_from", "last",  "idle", "uptime",  "stop",    "reason",    "rtt"};

constexpr const char* kTopHelp = R"(
Command          Description

o<option>        Set the sort key: cid, subs, pending, msgs_to, msgs_from,
                 bytes_to, bytes_from, idle, last; --sort does too.
n<limit>         Set how many connections the server is asked for; -n does too.
s                Show subscriptions, or not.
d                Look up names of addresses, or not.
b                Show bare numbers, or with K, M, G.
space            Show rates per second of connections, or totals.
q                Quit.

Press any key to continue...
)";

// Keys one by one and no cursor, on the other screen of the terminal, until it is destroyed.
class TopScreen {
 public:
  TopScreen() {
    tcgetattr(STDIN_FILENO, &before_);
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    print("\x1b[?1049h\x1b[?25l");
  }
  ~TopScreen() {
    print("\x1b[?25h\x1b[?1049l");
    std::fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  TopScreen(const TopScreen&) = delete;
  TopScreen& operator=(const TopScreen&) = delete;

  // As much of the text as the screen has room for.
  void draw(const std::string& text) const {
    winsize size{};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    std::string out = "\x1b[H";
    size_t row = 0;
    for (const std::string_view line : split(text, '\n')) {
      if (size.ws_row > 0 && row + 1 >= size.ws_row) break;
      out += std::string(size.ws_col > 0 ? line.substr(0, size.ws_col) : line) + "\x1b[K\r\n";
      ++row;
    }
    print(out + "\x1b[J");
    std::fflush(stdout);
  }

 private:
  termios before_{};
};

class Top {
 public:
  Top(const Values& values, SystemApi& api)
      : values_(values),
        api_(api),
        sort_(values.text("sort")),
        limit_(values.number("conns")),
        is_looking_up_(values.is_on("lookup")) {
    options_.has_subscriptions = values.is_on("subs");
    options_.is_raw = values.is_on("raw");
    options_.delimiter = values.text("delimiter");
  }

  // Looks at the server; the error of a server that is not there any more is kept for the screen.
  Status look() {
    Draft filter;
    filter.text("server_name", values_.text("name"));
    filter.flag("exact_match", true);
    auto varz = ask("VARZ", filter);
    if (!varz) return varz.error();
    filter.number("limit", static_cast<int64_t>(limit_));
    filter.text("sort", sort_);
    filter.flag("subscriptions", options_.has_subscriptions);
    auto connz = ask("CONNZ", filter);
    if (!connz) return connz.error();
    if (sample_) before_ = std::move(sample_);
    sample_ = TopSample{std::move(*varz), std::move(*connz)};
    if (is_looking_up_) look_up_names();
    return {};
  }

  std::string text() const {
    return sample_ ? top_text(*sample_, before_ ? &*before_ : nullptr, options_,
                              is_looking_up_ ? hosts_ : kNoHosts)
                   : std::string();
  }

  // Draws until the user quits or `refreshes_max` were drawn.
  Status run_screen(uint64_t refreshes_max) {
    const TopScreen screen;
    for (uint64_t drawn = 0; refreshes_max == 0 || drawn < refreshes_max; ++drawn) {
      Status status = look();
      trouble_ = status ? std::string() : status.error().text;
      draw(screen);
      if (wait_with_keys(screen)) return {};
    }
    return {};
  }

  // Writes page after page.
  Status run_batch(uint64_t refreshes) {
    for (uint64_t i = 0; i < refreshes; ++i) {
      if (i > 0) client::run_until(api_.session().loop(), interval(), [] { return false; });
      if (Status status = look(); !status) return status;
      print((i == 0 ? "" : "\n") + text());
      std::fflush(stdout);
    }
    return {};
  }

 private:
  inline static const std::map<std::string, std::string> kNoHosts;

  Duration interval() const {
    return std::chrono::seconds(std::max<uint64_t>(values_.number("interval"), 1));
  }

  Result<json::Value> ask(const std::string& verb, const Draft& body) {
    auto replies = api_.ask("$SYS.REQ.SERVER.PING." + verb, body.text(), 1);
    if (!replies && replies.error().code == Errc::Unsupported)
      return Error{Errc::Unsupported, kNoSystemAccount};
    if (!replies) return replies.error();
    if (replies->empty())
      return Error{Errc::TimedOut,
                   "nats: timeout: no server \"" + values_.text("name") + "\" answered"};
    const ServerReply& reply = replies->front();
    if (!reply.error().empty()) return Error{Errc::Unavailable, reply.error()};
    return reply.data() == nullptr ? json::Value() : *reply.data();
  }

  void look_up_names() {
    for (const json::Value& one : items_in(&sample_->connz, "connections")) {
      const std::string ip(one.get_string("ip"));
      if (hosts_.contains(ip)) continue;
      addrinfo hints{};
      hints.ai_flags = AI_NUMERICHOST;
      addrinfo* found = nullptr;
      char name[NI_MAXHOST] = {};
      if (getaddrinfo(ip.c_str(), nullptr, &hints, &found) != 0) continue;
      if (getnameinfo(found->ai_addr, found->ai_addrlen, name, sizeof name, nullptr, 0,
                      NI_NAMEREQD) == 0)
        hosts_[ip] = name;
      freeaddrinfo(found);
    }
  }

  void draw(const TopScreen& screen) const {
    std::string page = is_help_ ? std::string(kTopHelp) : text();
    if (!trouble_.empty()) page = trouble_ + "\n" + page;
    if (asking_ != '\0')
      page = (asking_ == 'o' ? "sort by [" + sort_ + "]: "
                             : "limit   [" + std::to_string(limit_) + "]: ") +
             answer_ + "\n" + page;
    screen.draw(page);
  }

  // True when the user wants to quit.
  bool wait_with_keys(const TopScreen& screen) {
    const MonotonicTime end = api_.session().clock().now() + interval();
    while (api_.session().clock().now() < end) {
      // The connection's own traffic has its turns too.
      api_.session().loop().run_once(std::chrono::milliseconds(20));
      pollfd input{STDIN_FILENO, POLLIN, 0};
      char key = '\0';
      if (poll(&input, 1, 30) != 1 || read(STDIN_FILENO, &key, 1) != 1) continue;
      if (key == 3 || (key == 'q' && asking_ == '\0')) return true;
      on_key(key);
      draw(screen);
    }
    return false;
  }

  void on_key(char key) {
    if (asking_ != '\0') return on_answer(key);
    if (is_help_) {
      is_help_ = false;
      return;
    }
    switch (key) {
      case ' ':
        options_.has_rates = !options_.has_rates;
        break;
      case 's':
        options_.has_subscriptions = !options_.has_subscriptions;
        break;
      case 'd':
        is_looking_up_ = !is_looking_up_;
        break;
      case 'b':
        options_.is_raw = !options_.is_raw;
        break;
      case 'o':
      case 'n':
        asking_ = key;
        break;
      case 'h':
      case '?':
        is_help_ = true;
        break;
      default:
        break;
    }
  }

  void on_answer(char key) {
    if (key == '\r' || key == '\n') {
      const bool is_sort =
          std::find(kTopSorts.begin(), kTopSorts.end(), answer_) != kTopSorts.end();
      if (asking_ == 'o' && is_sort) sort_ = answer_;
      if (asking_ == 'n') limit_ = parse_uint(answer_).value_or(limit_);
      asking_ = '\0';
      answer_.clear();
    } else if (key == 127 || key == 8) {
      if (!answer_.empty()) answer_.pop_back();
    } else if (key >= 32) {
      answer_ += key;
    }
  }

  const Values& values_;
  SystemApi& api_;
  std::string sort_;
  uint64_t limit_;
  bool is_looking_up_;
  TopOptions options_;
  std::optional<TopSample> sample_;
  std::optional<TopSample> before_;
  std::map<std::string, std::string> hosts_;
  std::string trouble_;
  std::string answer_;
  char asking_ = '\0';  // 'o' or 'n' while a sort or a limit is typed
  bool is_help_ = false;
};

int run_top(const Context& context, const Values& values) {
  if (Status sort = check_choice("sort", values.text("sort"), kTopSorts); !sort)
    return fail(context.program, sort.error());
  auto api = SystemApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  Top top(values, *api);
  if (Status first = top.look(); !first) {
    return fail(context.program, "initial test request failed: " + first.error().text);
  }
  if (const std::string file = values.text("output"); !file.empty()) {
    if (file == "-") {
      print(top.text());
      return 0;
    }
    if (Status written = write_file(file, top.text()); !written)
      return fail(context.program, written.error());
    return 0;
  }
  const uint64_t refreshes = values.has("max-refresh") ? values.number("max-refresh") : 0;
  const bool is_screen = is_terminal_stdin() && is_terminal_stdout() && !values.is_on("batch");
  Status done =
      is_screen ? top.run_screen(refreshes) : top.run_batch(std::max<uint64_t>(refreshes, 1));
  return done ? 0 : fail(context.program, done.error());
}

}  // namespace

Command top_command() {
  Command command{"top", {}, "Shows top-like statistic for connections on a specific server"};
  command.description =
      "On a terminal press ? for the keys. Without one, or with --batch, pages follow each other.";
  command.arguments = {{"name", "The server name to gather statistics for"}};
  command.flags = {{"conns,n", "Maximum number of connections to show", Kind::Number, "", "1024"},
                   {"interval,d", "Refresh interval", Kind::Number, "", "1"},
                   {"sort", "Sort connections by", Kind::Text, "SORT", "cid"},
                   {"lookup", "Looks up client addresses in DNS"},
                   {"output,o", "Saves the first snapshot to a file", Kind::Text, "OUTPUT"},
                   {"delimiter", "Specifies a output delimiter, defaults to grid-like text",
                    Kind::Text, "DELIMITER"},
                   {"raw,b", "Show raw bytes"},
                   {"max-refresh,r", "Maximum refreshes", Kind::Number, "REFRESHES"},
                   {"subs", "Shows the subscriptions column"},
                   {"batch", "Writes pages without drawing a screen"}};
  command.run = run_top;
  return command;
}

}  // namespace brokkr::cli
