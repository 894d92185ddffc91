#include "cli/command.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/files.h"
#include "cli/message_text.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

int do_nothing(const Context&, const Values&) { return 0; }

class CommandTest : public ::testing::Test {
 protected:
  CommandTest() {
    Command pub{"publish", {"pub"}, "Publishes"};
    pub.arguments = {{"subject", "Where"}, {"body", "What", false}};
    pub.flags = {{"count", "How many", Kind::Number, "", "1"},
                 {"header,H", "Headers", Kind::Text, "K:V", "", "", true},
                 {"progress", "Bar", Kind::Bool, "", "true"},
                 {"sleep", "Pause", Kind::Duration},
                 {"size", "Bytes", Kind::Size, "", "128B"},
                 {"trigger_subject,trigger-subject", "Subject", Kind::Text},
                 {"quiet,q", "Silent"}};
    pub.run = do_nothing;
    Command check{"check", {}, "Checks"};
    check.run = do_nothing;
    check.flags = {{"format", "Form", Kind::Text, "", "nagios"}};
    Command server{"server", {"srv"}, "Server"};
    server.flags = {{"deep", "Of the group"}};
    server.subcommands.push_back(std::move(check));
    Command up{"up", {}, "Raw"};
    up.run_raw = [](const std::vector<std::string>&) { return 0; };
    root_.name = "brokkr";
    root_.flags = {{"server,s", "URL", Kind::Text, "URL", "", "CLI_TEST_URL"}, {"version", "V"}};
    for (Command* one : {&pub, &server, &up}) root_.subcommands.push_back(std::move(*one));
  }
  Values values(const std::vector<std::string>& words) {
    auto parsed = parse(root_, context_, words);
    EXPECT_TRUE(parsed) << parsed.error().text;
    return parsed ? parsed->values : Values();
  }
  std::string error(const std::vector<std::string>& words) {
    auto parsed = parse(root_, context_, words);
    return parsed ? "no error" : parsed.error().text;
  }

  Context context_;
  Command root_;
};

TEST_F(CommandTest, TakesArgumentsAndFlagsInAnyOrder) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"pub", "a", "b", "--count", "3", "-s", "x"},
        {"-s", "x", "pub", "--count=3", "a", "b"},
        {"--server=x", "publish", "a", "--count", "3", "b"}}) {
    const Values v = values(words);
    EXPECT_EQ(v.text("subject"), "a");
    EXPECT_EQ(v.text("body"), "b");
    EXPECT_EQ(v.number("count"), 3U);
    EXPECT_EQ(v.text("server"), "x");
  }
}

TEST_F(CommandTest, ArgumentsMayBeNamedLikeCommands) {
  const Values v = values({"pub", "server", "up"});
  EXPECT_EQ(v.text("subject"), "server");
  EXPECT_EQ(v.text("body"), "up");
}

TEST_F(CommandTest, WhatFollowsTwoDashesIsNoFlag) {
  const Values v = values({"pub", "a", "--", "--count"});
  EXPECT_EQ(v.text("body"), "--count");
  EXPECT_EQ(values({"pub", "a", "-5"}).text("body"), "-5");
}

TEST_F(CommandTest, EmptyAndBracketedTextStaysAsItIs) {
  EXPECT_TRUE(values({"pub", "a", ""}).has("body"));
  EXPECT_EQ(values({"pub", "a", "[1,2]"}).text("body"), "[1,2]");
  EXPECT_EQ(values({"pub", "a", "-H", "[x]:1,2"}).all("header"), std::vector<std::string>{"[x]:1,2"});
  EXPECT_EQ(values({"pub", "a", "{\"a\":1} b=c"}).text("body"), "{\"a\":1} b=c");
}

TEST_F(CommandTest, SwitchesCanBeTurnedOff) {
  EXPECT_TRUE(values({"pub", "a"}).is_on("progress"));
  EXPECT_FALSE(values({"pub", "a", "--no-progress"}).is_on("progress"));
  EXPECT_TRUE(values({"pub", "a", "--no-progress", "--progress"}).is_on("progress"));
  EXPECT_FALSE(values({"pub", "a"}).is_on("quiet"));
  EXPECT_TRUE(values({"pub", "a", "-q"}).is_on("quiet"));
}

TEST_F(CommandTest, RepeatedFlagsKeepTheirOrderAndOthersTheLast) {
  const Values v = values({"pub", "a", "-H", "A:1", "--header", "B:2", "--count", "1", "--count", "2"});
  EXPECT_EQ(v.all("header"), (std::vector<std::string>{"A:1", "B:2"}));
  EXPECT_EQ(v.number("count"), 2U);
}

TEST_F(CommandTest, FlagsHaveOtherSpellings) {
  EXPECT_EQ(values({"pub", "a", "--trigger_subject=x"}).text("trigger_subject"), "x");
  EXPECT_EQ(values({"pub", "a", "--trigger-subject", "x"}).text("trigger_subject"), "x");
}

TEST_F(CommandTest, EnvironmentStandsInForAFlag) {
  setenv("CLI_TEST_URL", "from-env", 1);
  EXPECT_EQ(values({"pub", "a"}).text("server"), "from-env");
  EXPECT_EQ(values({"pub", "a", "-s", "own"}).text("server"), "own");
  unsetenv("CLI_TEST_URL");
  EXPECT_FALSE(values({"pub", "a"}).has("server"));
}

TEST_F(CommandTest, GroupFlagsReachTheirCommands) {
  const Values v = values({"server", "check", "--deep"});
  EXPECT_TRUE(v.is_on("deep"));
  EXPECT_EQ(v.text("format"), "nagios");
}

TEST_F(CommandTest, MistakesNameTheNearestRightWord) {
  EXPECT_EQ(error({"pubb", "a"}), "unknown command \"pubb\", did you mean \"pub\"?");
  EXPECT_EQ(error({"publsih", "a"}), "unknown command \"publsih\", did you mean \"publish\"?");
  EXPECT_EQ(error({"server", "chekc"}), "unknown command \"chekc\", did you mean \"check\"?");
  EXPECT_EQ(error({"pub", "a", "--cuont", "3"}), "unknown flag \"--cuont\", did you mean \"--count\"?");
  EXPECT_EQ(error({"pub", "a", "--sevrer=x"}), "unknown flag \"--sevrer\", did you mean \"--server\"?");
  EXPECT_EQ(error({"xyzzyx"}), "unknown command \"xyzzyx\"; see 'brokkr --help'");
}

TEST_F(CommandTest, MistakesSayWhatIsWrong) {
  EXPECT_EQ(error({"pub"}), "required argument 'subject' not provided; see 'brokkr publish --help'");
  EXPECT_EQ(error({"pub", "a", "b", "c"}), "unexpected argument \"c\"; see 'brokkr publish --help'");
  EXPECT_EQ(error({"pub", "a", "--count", "x"}), "--count: \"x\" is no number");
  EXPECT_EQ(error({"pub", "a", "--sleep", "5"}), "--sleep: \"5\" is no duration");
  EXPECT_EQ(error({"pub", "a", "--size", "5zb"}), "--size: \"5zb\" is no size");
  EXPECT_NE(error({"pub", "a", "--count"}).find("count"), std::string::npos);
}

TEST_F(CommandTest, HelpIsThereForEveryCommand) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{}, {"--help"}, {"server"}, {"pub", "--help"}, {"pub", "-h"}}) {
    auto parsed = parse(root_, context_, words);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->command, nullptr);
    EXPECT_TRUE(parsed->help.starts_with("usage: brokkr")) << parsed->help;
  }
  auto parsed = parse(root_, context_, {"pub", "--help"});
  EXPECT_NE(parsed->help.find("usage: brokkr publish [<flags>] <subject> [<body>]"), std::string::npos);
  EXPECT_NE(parsed->help.find("--[no-]progress"), std::string::npos);
  EXPECT_NE(parsed->help.find("-H, --header=K:V ..."), std::string::npos);
}

TEST_F(CommandTest, RawCommandsGetTheirWordsUnread) {
  auto parsed = parse(root_, context_, {"up", "--what", "-p", "1", "server"});
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->raw, (std::vector<std::string>{"--what", "-p", "1", "server"}));
}

TEST_F(CommandTest, CompletesCommandsAndFlags) {
  EXPECT_EQ(complete(root_, {"p"}), std::vector<std::string>{"publish"});
  EXPECT_EQ(complete(root_, {"server", ""}), std::vector<std::string>{"check"});
  EXPECT_EQ(complete(root_, {"pub", "--c"}), std::vector<std::string>{"--count"});
}

TEST(Completion, ScriptsNameTheProgram) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const std::string script = completion_script("nats", shell);
    EXPECT_NE(script.find("nats"), std::string::npos);
    EXPECT_EQ(script.find("%NAME%"), std::string::npos);
    EXPECT_NE(script.find("--completion-bash"), std::string::npos);
  }
  EXPECT_EQ(completion_script("nats", "csh"), "");
}

TEST(Sizes, AreReadWithAndWithoutUnit) {
  const struct {
    const char* text;
    uint64_t expected;
  } cases[] = {{"128", 128}, {"128B", 128}, {"1k", 1024}, {"1KB", 1024}, {"2MiB", 2 << 20},
               {"1.5k", 1536}, {"9007199254740993", 9007199254740993ULL}};
  for (const auto& c : cases) {
    uint64_t value = 0;
    EXPECT_TRUE(parse_size(c.text, value)) << c.text;
    EXPECT_EQ(value, c.expected) << c.text;
  }
  uint64_t value = 0;
  for (const char* text : {"", "x", "-1", "1x", "1kk", "k"}) EXPECT_FALSE(parse_size(text, value)) << text;
}

TEST(Words, AreSplitLikeAShell) {
  const auto words = split_words("a 'b c' \"d\\\" e\" f\\ g ''");
  ASSERT_TRUE(words);
  EXPECT_EQ(*words, (std::vector<std::string>{"a", "b c", "d\" e", "f g", ""}));
  EXPECT_FALSE(split_words("a 'b"));
  EXPECT_FALSE(split_words("  "));
}

TEST(Programs, GetInputAndGiveOutput) {
  const std::string large(1 << 20, 'x');
  const auto echoed = run_program({"cat"}, large, {});
  ASSERT_TRUE(echoed);
  EXPECT_TRUE(echoed->is_success);
  EXPECT_EQ(echoed->output, large);
  const auto failed = run_program({"false"}, large, {});
  ASSERT_TRUE(failed);
  EXPECT_FALSE(failed->is_success);
}

TEST(Headers, AreMadeFromFlags) {
  EXPECT_EQ(*make_headers({}), "");
  EXPECT_EQ(*make_headers({"A:b", "C: d:e"}), "NATS/1.0\r\nA: b\r\nC: d:e\r\n\r\n");
  EXPECT_FALSE(make_headers({"nocolon"}));
  EXPECT_FALSE(make_headers({":v"}));
}

TEST(MessageText, HasTheShapeScriptsKnow) {
  EXPECT_EQ(body_text("one"), "one\n\n\n");
  EXPECT_EQ(body_text("hi\n"), "hi\n\n");
  EXPECT_EQ(body_text(""), "nil body\n\n\n");
  const std::string block = "NATS/1.0\r\nA: b\r\nA: c\r\n\r\n";
  EXPECT_EQ(message_json({"s", "r", block, "p", {}}),
            "{\"subject\":\"s\",\"reply\":\"r\",\"headers\":{\"A\":[\"b\",\"c\"]},\"payload\":\"p\"}");
  EXPECT_EQ(message_json({"s", {}, {}, "\xff", {}}), "{\"subject\":\"s\",\"payload_base64\":\"/w==\"}");
}

TEST(TableText, DrawsBoxes) {
  Table table("T");
  table.header({"Name", "N"});
  table.row({"µ", "1"});
  EXPECT_EQ(table.text(),
            "╭──────────╮\n│     T    │\n├──────┬───┤\n│ Name │ N │\n├──────┼───┤\n│ µ    │ 1 │\n╰──────┴───╯\n");
}

}  // namespace
}  // namespace brokkr::cli
