#include "config/flags.h"

#include <algorithm>
#include <csignal>
#include <cstdint>

#include "base/bytes.h"

namespace brokkr::config {

// One flag under all its names.
struct FlagSpec {
  enum class Kind : uint8_t { Bool, Int, String };
  std::string_view names;  // separated by '|'
  Kind kind = Kind::String;
  void (*apply)(Options&, const std::string& value) = nullptr;
};

namespace {

using Kind = FlagSpec::Kind;

// strconv.ParseBool.
std::optional<bool> parse_bool(std::string_view text) {
  for (const std::string_view word : {"1", "t", "T", "TRUE", "true", "True"}) {
    if (text == word) return true;
  }
  for (const std::string_view word : {"0", "f", "F", "FALSE", "false", "False"}) {
    if (text == word) return false;
  }
  return std::nullopt;
}

// strconv.ParseInt with base 0, without underscores.
std::optional<int64_t> parse_go_int(std::string_view text) {
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  int64_t base = 10;
  if (text.size() > 1 && text[0] == '0') {
    const char letter = to_lower(text[1]);
    base = letter == 'x' ? 16 : letter == 'b' ? 2 : 8;
    text.remove_prefix(letter == 'x' || letter == 'b' || letter == 'o' ? 2 : 1);
  }
  if (text.empty()) return std::nullopt;
  int64_t number = 0;
  for (const char c : text) {
    const char low = to_lower(c);
    const int64_t digit = low >= '0' && low <= '9'   ? low - '0'
                          : low >= 'a' && low <= 'f' ? low - 'a' + 10
                                                     : 99;
    if (digit >= base || __builtin_mul_overflow(number, base, &number) ||
        __builtin_add_overflow(number, digit, &number)) {
      return std::nullopt;
    }
  }
  return negative ? -number : number;
}

bool truth(const std::string& value) {
  return parse_bool(value).value_or(false);
}
int64_t integer(const std::string& value) {
  return parse_go_int(value).value_or(0);
}

void add_later(Options& o, std::string name) {
  for (const std::string& known : o.later_keys) {
    if (known == name) return;
  }
  o.later_keys.push_back(std::move(name));
}

// Flags change single fields of the file's block: its ciphers and versions stay in force.
TlsOptions& tls_of(Options& o) {
  if (!o.tls) o.tls = TlsOptions{};
  return *o.tls;
}
void set_tls(Options& o, bool is_on) {
  if (is_on) {
    tls_of(o);
  } else {
    o.tls.reset();
  }
}

#define BROKKR_FLAG(names, kind, body)                  \
  FlagSpec {                                            \
    names, kind, [](Options& o, const std::string& v) { \
      static_cast<void>(o);                             \
      static_cast<void>(v);                             \
      body;                                             \
    }                                                   \
  }

// Flags that decide what to do (-h -v -c -t -sl) have no setting to apply.
constexpr FlagSpec kFlags[] = {
    {"h|help", Kind::Bool},
    {"v|version", Kind::Bool},
    {"help_tls", Kind::Bool},
    {"c|config", Kind::String},
    {"t", Kind::Bool},
    {"sl|signal", Kind::String},
    BROKKR_FLAG("p|port", Kind::Int,
                o.port = integer(v) == 0 ? Options{}.port : static_cast<int>(integer(v))),
    BROKKR_FLAG("a|addr|net", Kind::String, o.host = v.empty() ? Options{}.host : v),
    BROKKR_FLAG("n|name|server_name", Kind::String, o.server_name = v),
    BROKKR_FLAG("client_advertise", Kind::String, o.client_advertise = v),
    BROKKR_FLAG("D|debug", Kind::Bool, o.debug = truth(v)),
    BROKKR_FLAG("V|trace", Kind::Bool, o.trace = truth(v)),
    BROKKR_FLAG("VV", Kind::Bool, o.trace = o.trace_verbose = truth(v)),
    BROKKR_FLAG("DV", Kind::Bool, o.debug = o.trace = truth(v)),
    BROKKR_FLAG("DVV", Kind::Bool, o.debug = o.trace = o.trace_verbose = truth(v)),
    BROKKR_FLAG("T|logtime", Kind::Bool, o.logtime = truth(v)),
    BROKKR_FLAG("logtime_utc", Kind::Bool, o.logtime_utc = truth(v)),
    BROKKR_FLAG("user", Kind::String, o.authorization.user = v),
    BROKKR_FLAG("pass", Kind::String, o.authorization.password = v),
    BROKKR_FLAG("auth", Kind::String, o.authorization.token = v),
    BROKKR_FLAG("m|http_port", Kind::Int, o.http_port = static_cast<int>(integer(v))),
    BROKKR_FLAG("ms|https_port", Kind::Int, o.https_port = static_cast<int>(integer(v))),
    BROKKR_FLAG("P|pid", Kind::String, o.pid_file = v),
    BROKKR_FLAG("ports_file_dir", Kind::String, o.ports_file_dir = v),
    BROKKR_FLAG("l|log", Kind::String, o.log_file = v),
    BROKKR_FLAG("log_size_limit", Kind::Int, o.log_size_limit = integer(v)),
    BROKKR_FLAG("max_traced_msg_len", Kind::Int, o.max_traced_msg_len = integer(v)),
    BROKKR_FLAG("s|syslog", Kind::Bool, if (truth(v)) add_later(o, "syslog")),
    BROKKR_FLAG("r|remote_syslog", Kind::String, add_later(o, "remote_syslog")),
    BROKKR_FLAG("profile", Kind::Int, add_later(o, "prof_port")),
    BROKKR_FLAG("js|jetstream", Kind::Bool, o.jetstream = truth(v)),
    BROKKR_FLAG("sd|store_dir", Kind::String, o.store_dir = v),
    BROKKR_FLAG("routes|cluster|cluster_listen|cluster_advertise|cluster_name", Kind::String,
                add_later(o, "cluster")),
    BROKKR_FLAG("no_advertise", Kind::Bool, add_later(o, "cluster")),
    BROKKR_FLAG("connect_retries", Kind::Int, add_later(o, "cluster")),
    BROKKR_FLAG("tls", Kind::Bool, set_tls(o, truth(v))),
    BROKKR_FLAG("tlsverify", Kind::Bool, tls_of(o).verify = truth(v) || tls_of(o).verify_and_map),
    BROKKR_FLAG("tlscert", Kind::String, tls_of(o).cert_file = v; tls_of(o).certs.clear()),
    BROKKR_FLAG("tlskey", Kind::String, tls_of(o).key_file = v),
    BROKKR_FLAG("tlscacert", Kind::String, tls_of(o).ca_file = v),
};
#undef BROKKR_FLAG

const FlagSpec* find_flag(std::string_view name) {
  for (const FlagSpec& flag : kFlags) {
    for (const std::string_view one : split(flag.names, '|')) {
      if (one == name) return &flag;
    }
  }
  return nullptr;
}

bool is_port(std::string_view names) {
  return names == "p|port" || names == "m|http_port" || names == "ms|https_port";
}

// What is wrong with `value` for the flag; empty when nothing is.
std::string value_fault(const FlagSpec& flag, const std::string& name, const std::string& value) {
  const std::string where = " value \"" + value + "\" for flag -" + name;
  switch (flag.kind) {
    case Kind::String:
      return {};
    case Kind::Bool:
      if (parse_bool(value)) return {};
      return "invalid boolean value \"" + value + "\" for -" + name + ": parse error";
    case Kind::Int:
      break;
  }
  const auto number = parse_go_int(value);
  if (!number) return "invalid" + where + ": parse error";
  if (is_port(flag.names) && (*number < -1 || *number > 65535)) {
    return "invalid" + where + ": not between -1 and 65535";
  }
  if (!is_port(flag.names) && *number < 0) return "invalid" + where + ": may not be negative";
  return {};
}

std::string nearest_flag(std::string_view name) {
  std::string best;
  size_t best_distance = 3;
  for (const FlagSpec& flag : kFlags) {
    for (const std::string_view one : split(flag.names, '|')) {
      const size_t distance = edit_distance(one, name);
      if (one.size() < 4 || distance >= best_distance) continue;
      best_distance = distance;
      best = one;
    }
  }
  return best;
}

// The actions win in nats-server's order, whatever the order they are written in.
struct Wanted {
  bool version = false;
  bool help = false;
  bool tls_help = false;
  bool test = false;
};

void note(const FlagSpec& flag, const std::string& value, Wanted& wanted, Flags& flags) {
  if (flag.names == "h|help") {
    wanted.help = truth(value);
  } else if (flag.names == "v|version") {
    wanted.version = truth(value);
  } else if (flag.names == "help_tls") {
    wanted.tls_help = truth(value);
  } else if (flag.names == "t") {
    wanted.test = truth(value);
  } else if (flag.names == "c|config") {
    flags.config_file = value;
  } else if (flag.names == "sl|signal") {
    flags.signal = value;
  } else {
    flags.settings.emplace_back(&flag, value);
  }
}

Result<Flags> choose_action(Flags flags, const Wanted& wanted, const std::string* word) {
  using Action = Flags::Action;
  const std::string command = word == nullptr ? "" : to_lower(*word);
  if (wanted.version) {
    flags.action = Action::ShowVersion;
  } else if (wanted.help) {
    flags.action = Action::ShowHelp;
  } else if (wanted.tls_help) {
    flags.action = Action::ShowTlsHelp;
  } else if (command == "version") {
    flags.action = Action::ShowVersion;
  } else if (command == "help") {
    flags.action = Action::ShowHelp;
  } else if (word != nullptr) {
    return Error{Errc::InvalidArgument, "unrecognized command: \"" + *word + "\""};
  } else if (!flags.signal.empty()) {
    flags.action = Action::Signal;
  } else if (wanted.test) {
    if (flags.config_file.empty()) {
      return Error{Errc::InvalidArgument,
                   "must specify [-c, --config] option to check configuration file syntax"};
    }
    flags.action = Action::TestConfig;
  }
  return flags;
}

}  // namespace

Result<Flags> parse_flags(const std::vector<std::string>& args) {
  Flags flags;
  Wanted wanted;
  size_t i = 0;
  for (; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (arg.size() < 2 || arg[0] != '-') break;
    if (arg == "--") {
      ++i;
      break;
    }
    const size_t start = arg[1] == '-' ? 2 : 1;
    const size_t equals = arg.find('=', start);
    const std::string name =
        arg.substr(start, equals == std::string::npos ? equals : equals - start);
    if (name.empty() || name[0] == '-') return Error{Errc::Syntax, "bad flag syntax: " + arg};
    const FlagSpec* const flag = find_flag(name);
    if (flag == nullptr) {
      const std::string nearest = nearest_flag(name);
      return Error{Errc::Syntax, "flag provided but not defined: -" + name +
                                     (nearest.empty() ? "" : ", did you mean -" + nearest + "?")};
    }
    std::string value = "true";
    if (equals != std::string::npos) {
      value = arg.substr(equals + 1);
    } else if (flag->kind != Kind::Bool) {
      if (i + 1 >= args.size()) return Error{Errc::Syntax, "flag needs an argument: -" + name};
      value = args[++i];
    }
    const std::string fault = value_fault(*flag, name, value);
    if (!fault.empty()) return Error{Errc::Syntax, fault};
    note(*flag, value, wanted, flags);
  }
  return choose_action(std::move(flags), wanted, i < args.size() ? &args[i] : nullptr);
}

void apply_flags(const Flags& flags, Options& options) {
  const auto is_off = [](const auto& setting) {
    return setting.first->names == "tls" && !truth(setting.second);
  };
  for (const auto& [flag, value] : flags.settings)
    flag->apply(options, value);
  // No TLS, wherever in the line it stands.
  if (std::any_of(flags.settings.begin(), flags.settings.end(), is_off)) options.tls.reset();
}

namespace {

// What the TLS flags ask for needs a certificate, from them or from the file.
std::string tls_flags_fault(const Flags& flags, const Options& options) {
  const auto is_tls = [](const auto& one) { return one.first->names.starts_with("tls"); };
  if (!options.tls || std::none_of(flags.settings.begin(), flags.settings.end(), is_tls)) return {};
  const TlsOptions& tls = *options.tls;
  if (!tls.certs.empty()) return {};
  if (tls.cert_file.empty()) return "TLS Server certificate must be present and valid";
  if (tls.key_file.empty()) return "TLS Server private key must be present and valid";
  return {};
}

}  // namespace

Loaded load_with_flags(const Flags& flags, Sources& sources, const Options& base) {
  Loaded loaded{base, {}, {}};
  if (!flags.config_file.empty()) loaded = load_file(flags.config_file, sources, base);
  if (!loaded.errors.empty()) return loaded;
  apply_flags(flags, loaded.options);
  const std::string where = flags.config_file.empty() ? "command line" : flags.config_file;
  std::string fault = tls_flags_fault(flags, loaded.options);
  if (!fault.empty()) loaded.errors.push_back({where, 0, 0, std::move(fault)});
  for (std::string& reason : find_contradictions(loaded.options)) {
    loaded.errors.push_back({where, 0, 0, std::move(reason)});
  }
  return loaded;
}

Result<SignalCommand> parse_signal(const std::string& text, Sources& sources) {
  const auto parts = split(text, '=');
  if (parts.size() > 2) {
    return Error{Errc::InvalidArgument,
                 "invalid signal parameters: [" + std::string(parts[2]) + "]"};
  }
  SignalCommand command;
  command.command = parts[0];
  if (parts.size() == 2) {
    command.pid = parts[1];
    const Result<std::string> file = sources.read_file(command.pid);
    if (file) command.pid = trim(*file);
  }
  if (command.pid.ends_with('*')) {
    command.is_prefix = true;
    command.pid.pop_back();
  }
  if (!command.pid.empty() && !parse_uint(command.pid)) {
    return Error{Errc::InvalidArgument, "invalid pid: " + command.pid};
  }
  static constexpr std::pair<std::string_view, int> kSignals[] = {
      {"ldm", SIGUSR2},  {"stop", SIGKILL},   {"quit", SIGINT},
      {"term", SIGTERM}, {"reopen", SIGUSR1}, {"reload", SIGHUP}};
  for (const auto& [name, signal] : kSignals) {
    if (name == command.command) command.signal = signal;
  }
  if (command.signal == 0) {
    return Error{Errc::InvalidArgument, "unknown signal \"" + command.command + "\""};
  }
  return command;
}

}  // namespace brokkr::config
