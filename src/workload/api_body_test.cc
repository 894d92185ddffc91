#include "workload/api_body.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace brokkr::workload {
namespace {

NamespaceRecord other() {
  NamespaceRecord record;
  record.ns = "beta";
  record.subjects = {"beta.>"};
  record.buckets = {"ledger"};
  return record;
}

class ApiBody : public ::testing::Test {
 protected:
  Result<std::string> check(std::string_view request, std::string_view body) const {
    return check_api_body(*access_, inboxes_, "$JS.API." + std::string(request), body);
  }
  Errc refusal(std::string_view request, std::string_view body) const {
    const auto checked = check(request, body);
    if (!checked) return checked.error().code;
    ADD_FAILURE() << "allowed: " << request << " " << body;
    return Errc::System;
  }

  std::shared_ptr<const Access> access_ = Access::make({"acme", "it"}, {}, {other()});
  Inboxes inboxes_{"SECRET"};
};

TEST_F(ApiBody, OnlyConfigurationsAreLookedAt) {
  EXPECT_TRUE(has_api_body("$JS.API.STREAM.CREATE.x"));
  EXPECT_TRUE(has_api_body("$JS.API.STREAM.UPDATE.x"));
  EXPECT_TRUE(has_api_body("$JS.API.CONSUMER.CREATE.x.c.orders.>"));
  EXPECT_TRUE(has_api_body("$JS.API.CONSUMER.DURABLE.CREATE.x.c"));
  EXPECT_TRUE(has_api_body("$JS.API.STREAM.SNAPSHOT.x"));
  EXPECT_FALSE(has_api_body("$JS.API.STREAM.INFO.x"));
  EXPECT_FALSE(has_api_body("orders.STREAM.CREATE.x"));
}

TEST_F(ApiBody, AStreamMayCollectWhatTheWorkloadMayHear) {
  const auto body = check("STREAM.CREATE.acme__S",
                          R"({"name":"acme__S","subjects":["orders.>","acme.x"],"max_msgs":-1,)"
                          R"("mirror":null,"metadata":{"A":"ü"},"max_age":1.5e3})");
  ASSERT_TRUE(body) << body.error().text;
  const auto value = json::parse(*body);
  ASSERT_TRUE(value);
  EXPECT_EQ(value->get_string("name"), "acme__S");
  EXPECT_EQ(value->get_int("max_msgs"), -1);
  EXPECT_EQ(value->find("metadata")->get_string("A"), "ü");
}

TEST_F(ApiBody, AStreamMayNotCollectWhatItMayNotHear) {
  for (const std::string subject : {"beta.x", "beta.>", ">", "*.x", "$SYS.>", "$NEX.>", "$KV.ledger.>",
                                    "$KV.>", "_INBOX.>", "_INBOX.x.>", "$SRV.PING", "$JS.API.>"}) {
    EXPECT_EQ(refusal("STREAM.CREATE.acme__S",
                      R"({"name":"acme__S","subjects":["ok",")" + subject + R"("]})"),
              Errc::PermissionDenied)
        << subject;
  }
}

TEST_F(ApiBody, NothingIsReadAnotherWayByTheServer) {
  const auto config = [](std::string_view rest) {
    return R"({"name":"acme__S","subjects":["ok"])" + std::string(rest) + "}";
  };
  for (const std::string rest :
       {R"(,"subjects":["beta.x"])", R"(,"Subjects":["beta.x"])", R"(,"SUBJECTS":["beta.x"])",
        "," "\"\\u017fubjects\":[\"beta.x\"]", R"(,"future":1)", R"(,"subject_transform":{"src":"a","DEST":"b"})",
        R"(,"mirror":{"name":"acme__T","Name":"ORDERS"})",
        R"(,"sources":[{"name":"acme__T","external":{"api":"$JS.x.API"}}])",
        R"(,"sources":[{"name":"acme__T","consumer":{"name":"x","deliver_subject":"beta.x"}}])"}) {
    EXPECT_EQ(refusal("STREAM.CREATE.acme__S", config(rest)), Errc::Syntax) << rest;
  }
  EXPECT_EQ(refusal("STREAM.CREATE.acme__S", R"({"name":"other"})"), Errc::Syntax);
  EXPECT_EQ(refusal("STREAM.CREATE.acme__S", R"({"name":"acme__S")"), Errc::Syntax);
  EXPECT_EQ(refusal("STREAM.CREATE.acme__S", "[]"), Errc::Syntax);
  EXPECT_EQ(refusal("STREAM.CREATE.acme__S", R"({"name":"acme__S","subjects":"beta.x"})"), Errc::Syntax);
  EXPECT_EQ(refusal("STREAM.CREATE.acme__S", R"({"name":"acme__S","subjects":[["beta.x"]]})"), Errc::Syntax);
}

TEST_F(ApiBody, SourcesMirrorsAndRepublishingStayInside) {
  const auto update = [&](std::string_view rest) {
    return check("STREAM.UPDATE.acme__S", R"({"name":"acme__S",)" + std::string(rest) + "}");
  };
  EXPECT_TRUE(update(R"("mirror":{"name":"acme__T","filter_subject":"a"})"));
  EXPECT_TRUE(update(R"("sources":[{"name":"KV_acme__state"}])"));
  EXPECT_TRUE(update(R"("subjects":["a"],"republish":{"src":">","dest":"copy.>"})"));
  EXPECT_TRUE(update(R"("subjects":["a"],"republish":{"src":"a.*","dest":"copy.$1"})"));
  EXPECT_TRUE(update(R"("subjects":["a"],"metadata":{"io.brokkr.namespace":"acme"})"));
  for (const std::string rest :
       {R"("mirror":{"name":"ORDERS"})", R"("mirror":{"name":"KV_ledger"})", R"("mirror":{})",
        R"("sources":[{"name":"acme__T"},{"name":"beta__T"}])",
        R"("subjects":["a"],"republish":{"src":">","dest":">"})",
        R"("subjects":["a"],"republish":{"src":">","dest":"beta.>"})",
        R"("subjects":["a"],"republish":{"src":"a.*","dest":"$1.x"})",
        R"("subjects":["a"],"republish":{"src":"a.*","dest":"{{wildcard(1)}}.x"})",
        R"("subjects":["a"],"republish":{"src":">","dest":"$JS.API.STREAM.CREATE.acme__S"})",
        R"("subjects":["a"],"republish":{"src":">","dest":"_INBOX.x"})",
        R"("subjects":["a"],"metadata":{"io.brokkr.namespace":"beta"})"}) {
    const auto checked = update(rest);
    EXPECT_TRUE(!checked && checked.error().code == Errc::PermissionDenied) << rest;
  }
}

TEST_F(ApiBody, ConsumersDeliverWhereTheWorkloadMay) {
  const auto create = [&](std::string_view config) {
    return check("CONSUMER.CREATE.acme__S.c",
                 R"({"stream_name":"acme__S","config":{"name":"c",)" + std::string(config) + "}}");
  };
  const auto pull = create(R"("ack_policy":"explicit","filter_subjects":["a","b"])");
  ASSERT_TRUE(pull) << pull.error().text;
  const auto push = create(R"("deliver_subject":"_INBOX.abc")");
  ASSERT_TRUE(push) << push.error().text;
  EXPECT_NE(push->find(R"("deliver_subject":"_INBOX.SECRET.abc")"), std::string::npos) << *push;
  EXPECT_TRUE(create(R"("deliver_subject":"deliveries")"));
  EXPECT_TRUE(create(R"("deliver_subject":null)"));
  for (const std::string subject : {"beta.x", "$SYS.x", "$NEX.x", "$JS.API.STREAM.CREATE.acme__S",
                                    "$KV.acme__state.x", "$KV.ledger.x", "_R_.x"}) {
    const auto checked = create(R"("deliver_subject":")" + subject + "\"");
    EXPECT_TRUE(!checked && checked.error().code == Errc::PermissionDenied) << subject;
  }
  EXPECT_FALSE(create(R"("deliver_subject":"a.>")"));
  EXPECT_FALSE(create(R"("deliver_subject":["a"])"));
  EXPECT_FALSE(create(R"("Deliver_Subject":"beta.x")"));
  EXPECT_FALSE(create(R"("sourcing":true)"));
  EXPECT_FALSE(check("CONSUMER.DURABLE.CREATE.acme__S.c", R"({"stream_name":"ORDERS","config":{}})"));
  EXPECT_TRUE(check("CONSUMER.DURABLE.CREATE.acme__S.c", R"({"stream_name":"acme__S","config":{}})"));
}

TEST_F(ApiBody, SnapshotsAreDeliveredWhereTheWorkloadMay) {
  const auto body = check("STREAM.SNAPSHOT.acme__S", R"({"deliver_subject":"_INBOX.x","jsck":true})");
  ASSERT_TRUE(body);
  EXPECT_NE(body->find("_INBOX.SECRET.x"), std::string::npos);
  EXPECT_FALSE(check("STREAM.SNAPSHOT.acme__S", R"({"deliver_subject":"beta.x"})"));
}

TEST_F(ApiBody, ErrorsAreTheApis) {
  EXPECT_EQ(api_error("$JS.API.STREAM.CREATE.x", {Errc::PermissionDenied, "it"}),
            R"({"type":"io.nats.jetstream.api.v1.stream_create_response","error":{"code":403,)"
            R"("err_code":10003,"description":"permissions violation: it"}})");
  EXPECT_NE(api_error("$JS.API.STREAM.MSG.GET.x", {Errc::Syntax, "it"}).find("stream_msg_get_response"),
            std::string::npos);
  EXPECT_NE(api_error("$JS.API.CONSUMER.DURABLE.CREATE.x.c", {Errc::Syntax, ""}).find(".consumer_create_response"),
            std::string::npos);
  EXPECT_NE(api_error("$JS.API.INFO", {Errc::Syntax, ""}).find(".account_info_response"), std::string::npos);
}

TEST_F(ApiBody, InboxesAreTheWorkloadsOwn) {
  std::string room;
  EXPECT_EQ(inboxes_.to_server("_INBOX.a.*"), "_INBOX.SECRET.a.*");
  EXPECT_EQ(inboxes_.to_server("_INBOX.SECRET.a"), "_INBOX.SECRET.a");
  EXPECT_EQ(inboxes_.to_program("_INBOX.SECRET.a.1", room), "_INBOX.a.1");
  EXPECT_FALSE(inboxes_.is_ours("_INBOX.SECRETS.a"));
  EXPECT_FALSE(Inboxes::is_inbox("_INBOX"));
}

}  // namespace
}  // namespace brokkr::workload
