// `brokkr store verify|dump|export`: looks into a store's directory, which it never changes.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>

#include "app/program.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/json.h"
#include "store/inspect.h"
#include "store/store.h"

namespace brokkr::app {
namespace {

constexpr std::string_view kStoreHelp =
    "Usage: brokkr store verify DIR            check every checksum and read every message; "
    "exit code 1\n"
    "                                          when anything is damaged\n"
    "       brokkr store dump FILE...          print run files, catalogs and log files as text\n"
    "       brokkr store export DIR [options]  print a stream's messages, or the streams there "
    "are\n"
    "\n"
    "DIR is the store's directory. Nothing in it is changed; a running server is no obstacle, but "
    "what it\n"
    "writes meanwhile may look damaged.\n"
    "\n"
    "        --stream <name>      Stream to export\n"
    "        --account <name>     Its account (default: $G)\n"
    "        --raw                Bodies alone instead of a JSON object a line\n"
    "        --cipher <name>      aes or chachapoly, for an encrypted store\n"
    "        --key, --prev-key    Its keys (default: BROKKR_STORE_KEY, BROKKR_STORE_PREV_KEY)\n";

struct StoreFlags {
  std::vector<std::string> words;
  std::string stream;
  std::string account = "$G";
  bool is_raw = false;
  bool is_help = false;
  store::StoreKeys keys;
};

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Result<StoreFlags> parse_store_flags(const std::vector<std::string>& args) {
  StoreFlags flags;
  flags.keys.key = environment("BROKKR_STORE_KEY");
  flags.keys.previous_key = environment("BROKKR_STORE_PREV_KEY");
  std::string cipher = "chachapoly";
  const std::map<std::string, std::string*> texts = {{"--stream", &flags.stream},
                                                     {"--account", &flags.account},
                                                     {"--cipher", &cipher},
                                                     {"--key", &flags.keys.key},
                                                     {"--prev-key", &flags.keys.previous_key}};
  for (size_t i = 0; i < args.size(); ++i) {
    const size_t equals = args[i].starts_with("--") ? args[i].find('=') : std::string::npos;
    const std::string name = args[i].substr(0, equals);
    if (const auto found = texts.find(name); found != texts.end()) {
      if (equals == std::string::npos && i + 1 == args.size()) {
        return Error{Errc::InvalidArgument, name + " needs a value"};
      }
      *found->second = equals == std::string::npos ? args[++i] : args[i].substr(equals + 1);
    } else if (name == "--raw") {
      flags.is_raw = true;
    } else if (name == "-h" || name == "--help") {
      flags.is_help = true;
    } else if (name.starts_with("-")) {
      return Error{Errc::InvalidArgument, "unknown flag " + name};
    } else {
      flags.words.push_back(args[i]);
    }
  }
  if (cipher != "aes" && cipher != "chachapoly" && cipher != "chacha") {
    return Error{Errc::InvalidArgument,
                 "unknown cipher " + cipher + ", known are aes and chachapoly"};
  }
  if (!flags.keys.key.empty()) {
    flags.keys.cipher =
        cipher == "aes" ? store::Cipher::Aes256Gcm : store::Cipher::ChaCha20Poly1305;
  }
  return flags;
}

Result<std::unique_ptr<store::Keyring>> make_keys(const store::StoreKeys& keys) {
  if (keys.key.empty()) return std::unique_ptr<store::Keyring>();
  return store::Keyring::make(keys.cipher, keys.key, keys.previous_key);
}

void warn_when_locked(const std::string& directory) {
  const int fd = ::open((directory + "/lock").c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (::flock(fd, LOCK_SH | LOCK_NB) != 0) {
    std::fprintf(
        stderr,
        "warning: a server has this store open: what it writes meanwhile may look damaged\n");
  }
  ::close(fd);
}

int fail(const Error& error) {
  std::fprintf(stderr, "brokkr: error: %s\n", error.text.c_str());
  return 2;
}

int verify(const StoreFlags& flags, const std::string& directory) {
  const auto keys = make_keys(flags.keys);
  if (!keys) return fail(keys.error());
  auto report = store::verify_store(store::posix_files(), directory, keys->get());
  if (!report) return fail(report.error());
  const Status opened = store::verify_streams(store::posix_files(), directory, flags.keys, *report);
  if (!opened) report->damage.push_back("no store opens from it: " + opened.error().text);
  for (const std::string& line : report->notes)
    std::printf("note: %s\n", line.c_str());
  for (const std::string& line : report->damage)
    std::printf("DAMAGED %s\n", line.c_str());
  std::printf("%s files, %s, %s messages in run files, %s frames in the log: %s\n",
              format_count(report->files).c_str(), format_bytes(report->bytes).c_str(),
              format_count(report->messages).c_str(), format_count(report->frames).c_str(),
              report->damage.empty()
                  ? "no damage"
                  : (format_count(report->damage.size()) + " damaged places").c_str());
  return report->damage.empty() ? 0 : 1;
}

int dump(const StoreFlags& flags) {
  const auto keys = make_keys(flags.keys);
  if (!keys) return fail(keys.error());
  for (size_t i = 1; i < flags.words.size(); ++i) {
    const auto print = [](std::string_view line) {
      std::fwrite(line.data(), 1, line.size(), stdout);
      std::fputc('\n', stdout);
    };
    const Status status =
        store::dump_file(store::posix_files(), flags.words[i], keys->get(), print);
    if (!status) return fail(status.error());
  }
  return 0;
}

// The names are those of a stored message in JetStream's API.
void print_message(const store::Record& record) {
  json::Writer out;
  out.begin_object();
  out.field("subject", record.subject).field("seq", record.seq);
  if (!record.headers.empty()) out.field("hdrs", base64_encode(record.headers));
  if (!record.body.empty()) out.field("data", base64_encode(record.body));
  out.field("time", format_rfc3339(WallTime(Duration(record.timestamp_ns))));
  out.end_object();
  std::printf("%s\n", out.text().c_str());
}

void print_stream(store::Stream& stream) {
  const store::StreamState state = stream.state();
  json::Writer out;
  out.begin_object();
  out.field("account", stream.options().account).field("name", stream.options().name);
  out.field("messages", state.messages).field("bytes", state.bytes);
  out.field("first_seq", state.first.seq).field("last_seq", state.last.seq);
  out.field("lost", static_cast<uint64_t>(stream.lost().size()));
  out.end_object();
  std::printf("%s\n", out.text().c_str());
}

int export_messages(const StoreFlags& flags, const std::string& directory) {
  store::Files& files = store::posix_files();
  const auto print = [&](const store::Record& record) {
    if (!flags.is_raw) return print_message(record);
    std::fwrite(record.body.data(), 1, record.body.size(), stdout);
  };
  const auto report =
      flags.stream.empty()
          ? store::visit_streams(files, directory, flags.keys,
                                 [](store::Stream& it) { print_stream(it); })
          : store::visit_messages(files, directory, flags.keys, flags.account, flags.stream, print);
  if (!report) return fail(report.error());
  for (const std::string& line : report->warnings)
    std::fprintf(stderr, "warning: %s\n", line.c_str());
  for (const uint64_t seq : report->lost) {
    std::fprintf(stderr, "warning: message %llu is lost\n", static_cast<unsigned long long>(seq));
  }
  return std::fflush(stdout) == 0 ? 0 : 2;
}

int usage(bool is_asked_for) {
  std::fwrite(kStoreHelp.data(), 1, kStoreHelp.size(), is_asked_for ? stdout : stderr);
  return is_asked_for ? 0 : 2;
}

}  // namespace

int run_store(const Invocation& invocation) {
  const auto flags = parse_store_flags(invocation.args);
  if (!flags) return fail(flags.error());
  if (flags->is_help) return usage(true);
  const std::vector<std::string>& words = flags->words;
  if (words.size() < 2) return usage(false);
  if (words[0] == "dump") return dump(*flags);
  if (words.size() != 2 || (words[0] != "verify" && words[0] != "export")) return usage(false);
  struct stat found {};
  if (::stat((words[1] + "/wal").c_str(), &found) != 0 &&
      ::stat((words[1] + "/runs").c_str(), &found) != 0) {
    return fail({Errc::NotFound, words[1] + ": no store there (neither wal nor runs in it)"});
  }
  warn_when_locked(words[1]);
  return words[0] == "verify" ? verify(*flags, words[1]) : export_messages(*flags, words[1]);
}

}  // namespace brokkr::app
