#include "protocol/leaf_parser.h"

#include <gtest/gtest.h>

#include "protocol/leaf_info.h"

namespace brokkr::protocol {
namespace {

LeafCommand parse(std::string_view input) {
  LeafParser parser;
  LeafCommand command;
  EXPECT_EQ(parser.next(input, command), ParseStatus::Command) << input;
  return command;
}

ParseError error_of(std::string_view input, LeafParser::Limits limits = {}) {
  LeafParser parser(limits);
  LeafCommand command;
  EXPECT_EQ(parser.next(input, command), ParseStatus::Error) << input;
  return parser.error();
}

TEST(LeafParser, ReadsInterest) {
  LeafCommand plain = parse("LS+ foo.*\r\n");
  EXPECT_EQ(plain.verb, LeafVerb::Sub);
  EXPECT_EQ(plain.subject, "foo.*");
  EXPECT_EQ(plain.queue, "");
  LeafCommand queue = parse("ls+ foo  workers 12\n");
  EXPECT_EQ(queue.queue, "workers");
  EXPECT_EQ(queue.weight, 12U);
  EXPECT_EQ(parse("LS+ foo q x\r\n").weight, 1U);
  EXPECT_EQ(parse("LS+ foo q 0\r\n").weight, 1U);
  LeafCommand end = parse("LS- foo workers\r\n");
  EXPECT_EQ(end.verb, LeafVerb::Unsub);
  EXPECT_EQ(end.queue, "workers");
}

TEST(LeafParser, RefusesBadInterest) {
  for (const char* line : {"LS+ \r\n", "LS+ a q\r\n", "LS+ a q 1 2\r\n", "LS- a q 1\r\n", "LS-  \r\n"}) {
    EXPECT_EQ(error_of(line), ParseError::BadArguments) << line;
  }
  EXPECT_EQ(error_of("LS+foo\r\n"), ParseError::UnknownOperation);
  EXPECT_EQ(error_of("LS* foo\r\n"), ParseError::UnknownOperation);
}

struct MessageCase {
  const char* input;
  const char* reply;
  const char* queues;
  uint32_t header_size;
  const char* payload;
};

TEST(LeafParser, ReadsMessages) {
  const MessageCase cases[] = {
      {"LMSG a 2\r\nhi\r\n", "", "", 0, "hi"},
      {"LMSG a r 0\r\n\r\n", "r", "", 0, ""},
      {"LMSG a + r q1 2\r\nhi\r\n", "r", "q1", 0, "hi"},
      {"LMSG a | q1 q2 2\r\nhi\r\n", "", "q1 q2", 0, "hi"},
      {"HMSG a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", "", "", 12, "NATS/1.0\r\n\r\nhi"},
      {"HMSG a r 12 12\r\nNATS/1.0\r\n\r\n\r\n", "r", "", 12, "NATS/1.0\r\n\r\n"},
      {"HMSG a + r q1 q2 q3 12 12\r\nNATS/1.0\r\n\r\n\r\n", "r", "q1 q2 q3", 12, "NATS/1.0\r\n\r\n"},
      {"HMSG a | q 12 12\r\nNATS/1.0\r\n\r\n\r\n", "", "q", 12, "NATS/1.0\r\n\r\n"},
  };
  for (const MessageCase& each : cases) {
    const LeafCommand command = parse(each.input);
    EXPECT_EQ(command.subject, "a") << each.input;
    EXPECT_EQ(command.reply, each.reply) << each.input;
    EXPECT_EQ(command.queues, each.queues) << each.input;
    EXPECT_EQ(command.header_size, each.header_size) << each.input;
    EXPECT_EQ(command.payload, each.payload) << each.input;
    EXPECT_EQ(command.size, std::string_view(each.input).size()) << each.input;
    std::string line;
    append_leaf_message_line(line, {command.subject, command.reply, command.queues,
                                    command.header_size, command.payload.size()});
    EXPECT_EQ(line, std::string_view(each.input).substr(0, line.size()));
  }
}

TEST(LeafParser, RefusesBadMessages) {
  for (const char* line : {"LMSG a\r\n", "LMSG a -1\r\n", "LMSG a x\r\n", "LMSG a r q 1\r\n",
                           "LMSG a 9999999999\r\n", "HMSG a 1\r\n", "HMSG a 5 4\r\nabcd\r\n",
                           "HMSG a x 4\r\nabcd\r\n", "LMSG a * q 1\r\nx\r\n"}) {
    EXPECT_EQ(error_of(line), ParseError::BadArguments) << line;
  }
  EXPECT_EQ(error_of("LMSG a 11\r\n", {1000, 10}), ParseError::PayloadTooLarge);
  EXPECT_EQ(error_of("LMSG a 2\r\nhix\r\n"), ParseError::UnknownOperation);
  EXPECT_EQ(error_of("LMSG " + std::string(2000, 'a'), {1000, 10}), ParseError::ControlLineTooLong);
}

TEST(LeafParser, AsksForTheRest) {
  const std::string whole = "HMSG a + r q 12 14\r\nNATS/1.0\r\n\r\nhi\r\n";
  for (size_t size = 1; size < whole.size(); ++size) {
    LeafParser parser;
    LeafCommand command;
    ASSERT_EQ(parser.next(std::string_view(whole).substr(0, size), command), ParseStatus::Partial);
    EXPECT_GT(parser.bytes_needed(), size);
    EXPECT_LE(parser.bytes_needed(), whole.size());
  }
}

TEST(LeafParser, TakesQueuesApart) {
  std::string_view queues = " a  bc d";
  EXPECT_EQ(next_queue(queues), "a");
  EXPECT_EQ(next_queue(queues), "bc");
  EXPECT_EQ(next_queue(queues), "d");
  EXPECT_TRUE(queues.empty());
}

TEST(LeafInfo, SurvivesTheWay) {
  LeafInfo info;
  info.server_id = "NA";
  info.server_name = "hub";
  info.client_id = 7;
  info.nonce = "abc";
  info.domain = "d";
  info.info_on_connect = true;
  info.leafnode_urls = {"h:7422"};
  info.import_ = LeafSubjects{true, {"a.>"}, {"a.b"}};
  const std::string line = make_leaf_info_line(info);
  const auto read = parse_leaf_info(parse(line).arguments);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->server_name, "hub");
  EXPECT_EQ(read->client_id, 7U);
  EXPECT_TRUE(read->has_leafnode_urls);
  EXPECT_TRUE(read->info_on_connect);
  ASSERT_TRUE(read->import_);
  EXPECT_TRUE(read->import_->has_allow);
  EXPECT_EQ(read->import_->deny, std::vector<std::string>{"a.b"});
  EXPECT_FALSE(read->export_);
}

TEST(LeafInfo, OfAnotherPortIsTold) {
  const auto read = parse_leaf_info(R"({"server_id":"x","client_id":3,"connect_urls":["a:1"]})");
  ASSERT_TRUE(read);
  EXPECT_FALSE(read->has_leafnode_urls);
  EXPECT_FALSE(parse_leaf_info("[]"));
  EXPECT_FALSE(parse_leaf_info("{"));
}

TEST(LeafConnect, SurvivesTheWay) {
  LeafConnect connect;
  connect.name = "edge";
  connect.user = "u";
  connect.pass = "p";
  connect.deny_pub = {"x.>"};
  connect.is_hub = true;
  connect.protocol = 1;
  const std::string line = make_leaf_connect_line(connect);
  EXPECT_EQ(line.find("lang"), std::string::npos);  // it would make a client of us
  const auto read = parse_leaf_connect(parse(line).arguments);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->name, "edge");
  EXPECT_EQ(read->deny_pub, connect.deny_pub);
  EXPECT_TRUE(read->is_hub);
  EXPECT_EQ(read->protocol, 1);
}

TEST(LeafConnect, MustHaveTheRightKinds) {
  EXPECT_FALSE(parse_leaf_connect(R"({"name":7})"));
  EXPECT_FALSE(parse_leaf_connect(R"({"deny_pub":"x"})"));
  EXPECT_FALSE(parse_leaf_connect(R"({"headers":"yes"})"));
  EXPECT_TRUE(parse_leaf_connect(R"({"name":null,"unknown":[1]})"));
}

}  // namespace
}  // namespace brokkr::protocol
