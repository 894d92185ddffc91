#include "config/flags.h"

#include <csignal>
#include <map>

#include <gtest/gtest.h>

#include "config/reload.h"

namespace brokkr::config {
namespace {

class MapSources final : public Sources {
 public:
  Result<std::string> read_file(const std::string& path) override {
    const auto found = files.find(path);
    if (found == files.end()) return Error{Errc::NotFound, "no such file"};
    return found->second;
  }
  std::optional<std::string> environment(const std::string&) override { return std::nullopt; }
  std::map<std::string, std::string> files;
};

Options options_of(const std::vector<std::string>& args, const std::string& file = {}) {
  MapSources sources;
  sources.files["f.conf"] = file;
  const Result<Flags> flags = parse_flags(args);
  if (!flags) {
    ADD_FAILURE() << flags.error().text;
    return {};
  }
  const Loaded loaded = load_with_flags(*flags, sources);
  EXPECT_EQ(loaded.error_text(), "");
  return loaded.options;
}

std::string error_of(const std::vector<std::string>& args) {
  const Result<Flags> flags = parse_flags(args);
  return flags ? "" : std::string(to_string(flags.error().code)) + ": " + flags.error().text;
}

Flags::Action action_of(const std::vector<std::string>& args) {
  const Result<Flags> flags = parse_flags(args);
  EXPECT_TRUE(flags) << (flags ? "" : flags.error().text);
  return flags ? flags->action : Flags::Action::Run;
}

TEST(ParseFlags, OneDashOrTwoWithBlankOrEquals) {
  for (const auto& args : std::vector<std::vector<std::string>>{
           {"-p", "4333"}, {"--p", "4333"}, {"-p=4333"}, {"--port=4333"}, {"-port", "0x10ed"}}) {
    EXPECT_EQ(options_of(args).port, 4333) << args[0];
  }
  EXPECT_EQ(options_of({"-p", "-1"}).port, -1);
}

TEST(ParseFlags, BooleansTakeNoSeparateValue) {
  EXPECT_TRUE(options_of({"-D"}).debug);
  EXPECT_FALSE(options_of({"-D=false"}).debug);
  EXPECT_FALSE(options_of({"-T=0"}).logtime);
  EXPECT_EQ(error_of({"-D", "false"}),
            std::string(to_string(Errc::InvalidArgument)) + ": unrecognized command: \"false\"");
  const Options o = options_of({"-DVV"});
  EXPECT_TRUE(o.debug && o.trace && o.trace_verbose);
}

TEST(ParseFlags, EverySettingArrives) {
  const Options o = options_of({"-a",
                                "::1",
                                "-n",
                                "N",
                                "-P",
                                "p",
                                "-m",
                                "8222",
                                "-l",
                                "log",
                                "--user",
                                "u",
                                "--pass",
                                "s",
                                "--client_advertise",
                                "c:1",
                                "--ports_file_dir",
                                "/d",
                                "--log_size_limit",
                                "9",
                                "--logtime_utc",
                                "--max_traced_msg_len=7"});
  EXPECT_EQ(o.host, "::1");
  EXPECT_EQ(o.server_name, "N");
  EXPECT_EQ(o.pid_file, "p");
  EXPECT_EQ(o.http_port, 8222);
  EXPECT_EQ(o.log_file, "log");
  EXPECT_EQ(o.authorization.user, "u");
  EXPECT_EQ(o.authorization.password, "s");
  EXPECT_EQ(o.client_advertise, "c:1");
  EXPECT_EQ(o.ports_file_dir, "/d");
  EXPECT_EQ(o.log_size_limit, 9);
  EXPECT_TRUE(o.logtime_utc);
  EXPECT_EQ(o.max_traced_msg_len, 7);
  EXPECT_EQ(options_of({"--auth", "t"}).authorization.token, "t");
}

TEST(ParseFlags, FlagsOverrideTheFile) {
  const Options o = options_of({"-p", "1", "-c", "f.conf"}, "port: 2\nhost: h\ndebug: true");
  EXPECT_EQ(o.port, 1);
  EXPECT_EQ(o.host, "h");
  EXPECT_TRUE(o.debug);
  EXPECT_FALSE(options_of({"-c", "f.conf", "-D=false"}, "debug: true").debug);
}

TEST(ParseFlags, LaterFlagsAreNamed) {
  const Options o = options_of({"-js", "--cluster", "nats://x:1", "--routes", "y", "-s"});
  EXPECT_EQ(o.later_keys, (std::vector<std::string>{"cluster", "syslog"}));
  EXPECT_TRUE(o.jetstream);
}

TEST(ParseFlags, WrongFlagsAreSyntaxErrors) {
  const std::string syntax = std::string(to_string(Errc::Syntax)) + ": ";
  EXPECT_EQ(error_of({"-zz"}), syntax + "flag provided but not defined: -zz");
  EXPECT_EQ(error_of({"--prot", "1"}),
            syntax + "flag provided but not defined: -prot, did you mean -port?");
  EXPECT_EQ(error_of({"-p"}), syntax + "flag needs an argument: -p");
  EXPECT_EQ(error_of({"-p", "x"}), syntax + "invalid value \"x\" for flag -p: parse error");
  EXPECT_EQ(error_of({"-p", "70000"}),
            syntax + "invalid value \"70000\" for flag -p: not between -1 and 65535");
  EXPECT_EQ(error_of({"-D=maybe"}), syntax + "invalid boolean value \"maybe\" for -D: parse error");
  EXPECT_EQ(error_of({"---p", "1"}), syntax + "bad flag syntax: ---p");
  EXPECT_EQ(error_of({"-=x"}), syntax + "bad flag syntax: -=x");
}

TEST(ParseFlags, StrayWordsAreUnrecognizedCommands) {
  const std::string invalid = std::string(to_string(Errc::InvalidArgument)) + ": ";
  EXPECT_EQ(error_of({"x"}), invalid + "unrecognized command: \"x\"");
  EXPECT_EQ(error_of({"-D", "x"}), invalid + "unrecognized command: \"x\"");
  EXPECT_EQ(error_of({"--", "-D"}), invalid + "unrecognized command: \"-D\"");
  EXPECT_EQ(error_of({"-t"}),
            invalid + "must specify [-c, --config] option to check configuration file syntax");
}

TEST(ParseFlags, ActionsInNatsServersOrder) {
  using Action = Flags::Action;
  EXPECT_EQ(action_of({}), Action::Run);
  EXPECT_EQ(action_of({"-h", "-v"}), Action::ShowVersion);
  EXPECT_EQ(action_of({"--help"}), Action::ShowHelp);
  EXPECT_EQ(action_of({"-v", "x"}), Action::ShowVersion);
  EXPECT_EQ(action_of({"VERSION"}), Action::ShowVersion);
  EXPECT_EQ(action_of({"help"}), Action::ShowHelp);
  EXPECT_EQ(action_of({"--help_tls"}), Action::ShowTlsHelp);
  EXPECT_EQ(action_of({"-t", "-c", "x"}), Action::TestConfig);
  EXPECT_EQ(action_of({"-sl", "stop"}), Action::Signal);
}

TEST(LoadWithFlags, ContradictionsAreErrors) {
  MapSources sources;
  sources.files["f.conf"] = "max_pending: 10\n";
  const Loaded loaded = load_with_flags(*parse_flags({"-c", "f.conf"}), sources);
  EXPECT_EQ(loaded.error_text(),
            "f.conf: max_payload (1048576) cannot be higher than max_pending (10)");
}

TEST(ParseSignal, CommandsAndPids) {
  MapSources sources;
  sources.files["x.pid"] = "77\n";
  const auto parse = [&sources](const std::string& text) {
    const Result<SignalCommand> command = parse_signal(text, sources);
    if (!command) return command.error().text;
    return std::to_string(command->signal) + " " + command->pid + (command->is_prefix ? "*" : "");
  };
  EXPECT_EQ(parse("stop"), std::to_string(SIGKILL) + " ");
  EXPECT_EQ(parse("ldm=12"), std::to_string(SIGUSR2) + " 12");
  EXPECT_EQ(parse("reload=x.pid"), std::to_string(SIGHUP) + " 77");
  EXPECT_EQ(parse("quit=1*"), std::to_string(SIGINT) + " 1*");
  EXPECT_EQ(parse("reopen=*"), std::to_string(SIGUSR1) + " *");
  EXPECT_EQ(parse("zzz"), "unknown signal \"zzz\"");
  EXPECT_EQ(parse("stop=abc"), "invalid pid: abc");
  EXPECT_EQ(parse("a=b=c"), "invalid signal parameters: [c]");
}

TEST(UsageText, NamesEveryFlag) {
  const std::string text = usage_text("nats-server");
  EXPECT_TRUE(text.starts_with("\nUsage: nats-server [options]\n"));
  for (const char* flag : {"--addr",           "--port",    "--name",
                           "--config",         "--pid",     "--http_port",
                           "--https_port",     "--signal",  "--client_advertise",
                           "--ports_file_dir", "--log,",    "--logtime",
                           "--user",           "--pass",    "--auth",
                           "--tlscert",        "--routes",  "--cluster_name",
                           "--help_tls",       "--version", "--store_dir",
                           "--jetstream",      "--profile", "--connect_retries",
                           "--remote_syslog"}) {
    const std::string wanted = flag;
    EXPECT_NE(text.find(wanted.substr(0, wanted.size() - (wanted.back() == ',' ? 1 : 0))),
              std::string::npos)
        << flag;
  }
}

TEST(Compare, TellsHotFromFixed) {
  Options before;
  Options after = before;
  EXPECT_TRUE(compare(before, after).is_empty());
  after.max_payload = 5;
  after.authorization.token = "t";
  after.debug = true;
  EXPECT_EQ(compare(before, after).hot,
            (std::vector<std::string>{"debug", "authorization", "max_payload"}));
  EXPECT_TRUE(compare(before, after).errors.empty());
  after.port = 4333;
  after.store_dir = "/x";
  EXPECT_EQ(compare(before, after).errors,
            (std::vector<std::string>{"config reload not supported for Port: old=4222, new=4333",
                                      "config reload not supported for jetstream storage directory"}));
}

}  // namespace
}  // namespace brokkr::config
