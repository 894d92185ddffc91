#include <gtest/gtest.h>

#include "protocol/connect_options.h"
#include "protocol/info.h"

namespace brokkr::protocol {
namespace {

TEST(ConnectOptions, MissingFieldsKeepTheirDefaults) {
  ConnectOptions options;
  ASSERT_TRUE(parse_connect("{}", options));
  EXPECT_TRUE(options.verbose);
  EXPECT_TRUE(options.pedantic);
  EXPECT_TRUE(options.echo);
  EXPECT_FALSE(options.headers);
  EXPECT_FALSE(options.no_responders);
  EXPECT_EQ(options.protocol, 0);
}

TEST(ConnectOptions, FieldsAreRead) {
  ConnectOptions options;
  ASSERT_TRUE(parse_connect(
      R"({"verbose":false,"pedantic":false,"echo":false,"headers":true,"no_responders":true,
          "protocol":1,"name":"n","lang":"go","version":"1.2","user":"u","pass":"p",
          "auth_token":"t","jwt":"j","nkey":"k","sig":"s","tls_required":true})",
      options));
  EXPECT_FALSE(options.verbose || options.pedantic || options.echo);
  EXPECT_TRUE(options.headers && options.no_responders && options.tls_required);
  EXPECT_EQ(options.protocol, 1);
  EXPECT_EQ(options.name + options.lang + options.version, "ngo1.2");
  EXPECT_EQ(options.user + options.pass + options.auth_token, "upt");
  EXPECT_EQ(options.jwt + options.nkey + options.sig, "jks");
}

TEST(ConnectOptions, SecondConnectKeepsWhatItDoesNotName) {
  ConnectOptions options;
  ASSERT_TRUE(parse_connect(R"({"verbose":false,"name":"a"})", options));
  ASSERT_TRUE(parse_connect(R"({"name":"b"})", options));
  EXPECT_FALSE(options.verbose);
  EXPECT_EQ(options.name, "b");
}

TEST(ConnectOptions, NamesMatchInAnyLetterCase) {
  ConnectOptions options;
  ASSERT_TRUE(parse_connect(R"({"VERBOSE":false,"User":"u"})", options));
  EXPECT_FALSE(options.verbose);
  EXPECT_EQ(options.user, "u");
}

TEST(ConnectOptions, UnknownNamesAndNullsChangeNothing) {
  ConnectOptions options;
  ASSERT_TRUE(parse_connect(R"({"foo":{"a":[1]},"name":null,"verbose":null})", options));
  EXPECT_TRUE(options.verbose);
  ASSERT_TRUE(parse_connect("null", options));
}

TEST(ConnectOptions, WrongTypesAndBadJsonFail) {
  for (const char* text :
       {"", "{", "[]", "1", "\"x\"", "{} x", R"({"verbose":1})", R"({"verbose":"true"})",
        R"({"name":1})", R"({"protocol":"1"})", R"({"protocol":1.0})", R"({"import":5})"}) {
    ConnectOptions options;
    const auto status = parse_connect(text, options);
    ASSERT_FALSE(status) << text;
    EXPECT_EQ(status.error().code, Errc::Syntax) << text;
  }
}

TEST(ConnectOptions, ProtocolOutOfRangeIsNotTakenForAKnownOne) {
  for (const char* text : {R"({"protocol":99999999999})", R"({"protocol":-1})"}) {
    ConnectOptions options;
    ASSERT_TRUE(parse_connect(text, options));
    EXPECT_EQ(options.protocol, -1);
  }
}

TEST(ConnectOptions, WrittenTextIsReadBack) {
  ConnectOptions sent;
  sent.verbose = false;
  sent.pedantic = false;
  sent.headers = true;
  sent.protocol = 1;
  sent.user = "u\"<>";
  ConnectOptions received;
  ASSERT_TRUE(parse_connect(make_connect(sent), received));
  EXPECT_FALSE(received.verbose);
  EXPECT_TRUE(received.headers && received.echo);
  EXPECT_EQ(received.protocol, 1);
  EXPECT_EQ(received.user, sent.user);
}

TEST(ServerInfo, FieldsAreInTheOrderOfTheWire) {
  ServerInfo info;
  info.server_id = "NID";
  info.server_name = "name";
  info.version = "2.14.0";
  info.go = "none";
  info.host = "0.0.0.0";
  info.port = 4222;
  info.client_id = 5;
  info.client_ip = "127.0.0.1";
  info.api_lvl = 5;
  info.xkey = "X";
  EXPECT_EQ(make_info_line(info),
            R"(INFO {"server_id":"NID","server_name":"name","version":"2.14.0","proto":1,)"
            R"("go":"none","host":"0.0.0.0","port":4222,"headers":true,"max_payload":1048576,)"
            R"("client_id":5,"client_ip":"127.0.0.1","api_lvl":5,"xkey":"X"} )"
            "\r\n");
}

TEST(ServerInfo, WrittenTextIsReadBack) {
  ServerInfo sent;
  sent.server_id = "NID";
  sent.auth_required = sent.tls_required = sent.jetstream = sent.lame_duck_mode = true;
  sent.nonce = "abc";
  sent.connect_urls = {"a:1", "b:2"};
  sent.remote_account = "$G";
  sent.client_id = 77;
  const std::string line = make_info_line(sent);
  const auto received = parse_info(std::string_view(line).substr(5));
  ASSERT_TRUE(received);
  EXPECT_TRUE(received->auth_required && received->tls_required && received->jetstream);
  EXPECT_TRUE(received->lame_duck_mode && received->headers);
  EXPECT_EQ(received->nonce, "abc");
  EXPECT_EQ(received->connect_urls, sent.connect_urls);
  EXPECT_EQ(received->remote_account, "$G");
  EXPECT_EQ(received->client_id, 77u);
  EXPECT_EQ(make_info_line(*received), line);
}

TEST(ServerInfo, TextThatIsNoObjectFails) {
  for (const char* text : {"", "[]", "1", "{"}) EXPECT_FALSE(parse_info(text)) << text;
  EXPECT_TRUE(parse_info(R"({"port":"x","connect_urls":5,"proto":99999999999})"));
}

}  // namespace
}  // namespace brokkr::protocol
