#include "workload/access.h"

#include <gtest/gtest.h>

namespace brokkr::workload {
namespace {

NamespaceRecord record(std::string ns, Words subjects = {}, Words buckets = {}, Words objects = {},
                       Words imports = {}) {
  NamespaceRecord out;
  out.ns = std::move(ns);
  out.subjects = std::move(subjects);
  out.buckets = std::move(buckets);
  out.object_buckets = std::move(objects);
  out.imports = std::move(imports);
  return out;
}

std::shared_ptr<const Access> access_of(const std::string& ns,
                                        const std::vector<NamespaceRecord>& namespaces = {},
                                        const Grants& grants = {}) {
  return Access::make({ns, "it"}, grants, namespaces);
}

TEST(Access, TheDefaultNamespaceMayUseOrdinarySubjects) {
  const auto access = access_of("default");
  EXPECT_TRUE(access->may_publish("orders.new"));
  EXPECT_TRUE(access->may_subscribe("orders.>"));
  EXPECT_TRUE(access->may_subscribe("*"));
  EXPECT_FALSE(access->may_publish("orders..new"));
  EXPECT_FALSE(access->may_publish(""));
}

TEST(Access, WhatServersKeepToThemselvesIsNobodys) {
  for (const std::string ns : {"default", "acme"}) {
    const auto access = access_of(ns);
    for (const std::string subject :
         {"$SYS.REQ.SERVER.PING", "$SYS", "$NEX.SVC.default.control.DEPLOY", "$NEX.FEED.acme.logs.x.stdout",
          "$NRG.x", "_R_.x", "_GR_.x", "$MQTT.x", "$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE",
          "$JS.API.ACCOUNT.PURGE.A", "$JS.API.STREAM.RESTORE.mine", "$JS.API.STREAM.PEER.REMOVE.mine",
          "$JS.API.STREAM.LEADER.STEPDOWN.mine", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST",
          "$JS.API.STREAM.TEMPLATE.CREATE.x", "$JS.hub.API.STREAM.INFO.mine", "$JS.SNAPSHOT.RESTORE.x.y",
          "_INBOX.abc.1"}) {
      EXPECT_FALSE(access->may_publish(subject)) << ns << " " << subject;
    }
    for (const std::string pattern : {">", "*.>", "*.*", "$SYS.>", "$NEX.>", "$JS.>", "$JS.API.>", "$JS.ACK.>",
                                      "$KV.>", "$KV.*.>", "$O.>", "$SRV.>", "$SRV.PING.*", "_INBOX.>",
                                      "_INBOX.*", "_INBOX", "*.abc", "_R_.>", "_INBOX_alice.>", "$JS.EVENT.>",
                                      "$JS.EVENT.ADVISORY.API", "$JS.EVENT.ADVISORY.STREAM.*.>"}) {
      EXPECT_FALSE(access->may_subscribe(pattern)) << ns << " " << pattern;
    }
    EXPECT_TRUE(access->may_subscribe("_INBOX.abc.>"));
    EXPECT_TRUE(access->may_subscribe("$SRV.PING"));
    EXPECT_TRUE(access->may_subscribe("$SRV.INFO.mine.id"));
  }
}

TEST(Access, ControlBucketsAreNobodys) {
  const auto access = access_of("default");
  for (const std::string bucket : {"NEX_WORKLOADS", "NEX_SECRETS", "NEX_ARTIFACTS_default", "NEXCLIFILES"}) {
    EXPECT_FALSE(access->may_use_key_value(bucket)) << bucket;
    EXPECT_FALSE(access->may_use_object_store(bucket)) << bucket;
    EXPECT_FALSE(access->may_use_stream("KV_" + bucket)) << bucket;
    EXPECT_FALSE(access->may_use_stream("OBJ_" + bucket)) << bucket;
    EXPECT_FALSE(access->may_publish("$KV." + bucket + ".x")) << bucket;
    EXPECT_FALSE(access->may_publish("$JS.API.DIRECT.GET.KV_" + bucket + ".$KV." + bucket + ".x")) << bucket;
  }
  EXPECT_FALSE(access->may_use_stream("NEX_DLQ_default"));
}

TEST(Access, JetStreamRequestsMayOnlyNameAllowedStreams) {
  const auto access = access_of("acme", {record("other", {}, {"shared"})});
  const auto expect = [&](const std::string& stream, bool may) {
    for (const std::string prefix :
         {"STREAM.CREATE.", "STREAM.UPDATE.", "STREAM.DELETE.", "STREAM.INFO.", "STREAM.PURGE.",
          "STREAM.SNAPSHOT.", "STREAM.MSG.GET.", "STREAM.MSG.DELETE.", "CONSUMER.CREATE.", "CONSUMER.NAMES.",
          "CONSUMER.LIST.", "DIRECT.GET."}) {
      EXPECT_EQ(access->may_publish("$JS.API." + prefix + stream), may) << prefix << stream;
    }
    for (const std::string prefix : {"CONSUMER.CREATE.", "CONSUMER.INFO.", "CONSUMER.DELETE.", "CONSUMER.PAUSE.",
                                     "CONSUMER.UNPIN.", "CONSUMER.RESET.", "CONSUMER.MSG.NEXT.",
                                     "CONSUMER.DURABLE.CREATE.", "DIRECT.GET."}) {
      EXPECT_EQ(access->may_publish("$JS.API." + prefix + stream + ".c"), may) << prefix << stream;
    }
    EXPECT_EQ(access->may_publish("$JS.API.CONSUMER.CREATE." + stream + ".c.orders.>"), may);
    EXPECT_EQ(access->may_publish("$JS.ACK." + stream + ".c.1.2.3.4.5"), may);
    EXPECT_EQ(access->may_publish("$JS.ACK._.hash." + stream + ".c.1.2.3.4.5"), may);
    EXPECT_EQ(access->may_publish("$JS.ACK._.hash." + stream + ".c.1.2.3.4.5.x"), may);
    EXPECT_EQ(access->may_publish("$JS.FC." + stream + ".c.x"), may);
    EXPECT_EQ(access->may_publish("$JS.SNAPSHOT.ACK." + stream + ".x.1.1"), may);
    EXPECT_EQ(access->may_subscribe("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + stream + ".*"), may);
    EXPECT_FALSE(access->may_subscribe("$JS.API.STREAM.INFO." + stream));
  };
  expect("acme__ORDERS", true);
  expect("KV_acme__state", true);
  expect("OBJ_acme__files", true);
  for (const std::string stream :
       {"ORDERS", "beta__ORDERS", "KV_state", "KV_beta__state", "KV_shared", "OBJ_beta__files", "OBJ_files",
        "KV_NEX_WORKLOADS", "*", ">", "acme", "acme__beta__x", "KV_acme__beta__x", "KV_", "acme___x"}) {
    expect(stream, false);
  }
  EXPECT_TRUE(access->may_publish("$JS.API.INFO"));
  // The place of the stream is decided by the number of tokens.
  EXPECT_FALSE(access->may_publish("$JS.ACK.acme__ORDERS.c.beta__ORDERS.c.1.2.3.4.5"));
  EXPECT_FALSE(access->may_publish("$JS.ACK.acme__ORDERS.c.1.2.3.4.5.6"));
}

TEST(Access, BucketsOfANamespaceCarryItsName) {
  const auto access = access_of("acme");
  EXPECT_EQ(access->key_value_name("state"), "acme__state");
  EXPECT_EQ(access->object_store_name("files"), "acme__files");
  EXPECT_TRUE(access->may_use_key_value("state"));
  EXPECT_TRUE(access->may_publish("$KV.acme__state.a.b"));
  EXPECT_TRUE(access->may_subscribe("$KV.acme__state.>"));
  EXPECT_FALSE(access->may_publish("$KV.state.a"));
  EXPECT_FALSE(access->may_publish("$KV.beta__state.a"));
  EXPECT_TRUE(access->may_publish("$O.acme__files.C.x"));
  EXPECT_FALSE(access->may_publish("$O.files.C.x"));
  for (const std::string bucket : {"", "a.b", "a*", "*", ">", "a b", "beta__x", "_x", "../x"}) {
    EXPECT_FALSE(access->may_use_key_value(bucket)) << bucket;
    EXPECT_FALSE(access->may_use_object_store(bucket)) << bucket;
  }
  const auto plain = access_of("default");
  EXPECT_EQ(plain->key_value_name("state"), "state");
  EXPECT_TRUE(plain->may_use_key_value("state"));
  EXPECT_FALSE(plain->may_use_key_value("acme__state"));
  EXPECT_FALSE(plain->may_publish("$KV.acme__state.a"));
}

// Whatever two namespaces are called, no name at the server is both's.
TEST(Access, NoTwoNamespacesShareANameAtTheServer) {
  const std::vector<std::string> namespaces = {"a", "a_", "a__b", "a_b", "b", "_", "default", "a__"};
  const std::vector<std::string> buckets = {"x", "_x", "__x", "b__x", "x_", "x__", "a__x", "a_"};
  for (const auto& one : namespaces) {
    for (const auto& other : namespaces) {
      if (one == other) continue;
      const auto mine = access_of(one);
      const auto theirs = access_of(other);
      for (const auto& bucket : buckets) {
        if (!mine->may_use_key_value(bucket)) continue;
        EXPECT_FALSE(theirs->may_use_stream("KV_" + mine->key_value_name(bucket)))
            << one << " " << other << " " << bucket;
      }
    }
  }
}

TEST(Access, ClaimedSubjectsAndBucketsAreTheirNamespaces) {
  const std::vector<NamespaceRecord> all = {record("acme", {"acme.>"}, {"ledger"}, {"scans"}, {"shop.orders"}),
                                            record("shop", {"shop.>"})};
  const auto plain = access_of("default", all);
  EXPECT_TRUE(plain->may_publish("orders.new"));
  for (const std::string subject : {"acme.x", "acme.>", "*.x", "acme.*", "shop.orders"}) {
    EXPECT_FALSE(plain->may_publish(subject)) << subject;
    EXPECT_FALSE(plain->may_subscribe(subject)) << subject;
  }
  EXPECT_FALSE(plain->may_use_key_value("ledger"));
  EXPECT_FALSE(plain->may_use_object_store("scans"));
  EXPECT_TRUE(plain->may_use_object_store("ledger"));

  const auto acme = access_of("acme", all);
  EXPECT_TRUE(acme->may_publish("acme.x"));
  EXPECT_TRUE(acme->may_subscribe("acme.>"));
  EXPECT_FALSE(acme->may_publish("orders.new"));
  EXPECT_FALSE(acme->may_subscribe("shop.orders"));
  EXPECT_TRUE(acme->may_publish("shop.orders"));
  EXPECT_FALSE(acme->may_publish("shop.prices"));
  EXPECT_TRUE(acme->may_use_key_value("ledger"));
  EXPECT_EQ(acme->key_value_name("ledger"), "ledger");
  EXPECT_FALSE(acme->may_use_key_value("state"));
  EXPECT_TRUE(acme->may_publish("$KV.ledger.x"));
  EXPECT_FALSE(acme->may_publish("$KV.acme__state.x"));
}

TEST(Access, StreamsMayBeGivenToANamespace) {
  NamespaceRecord acme = record("acme");
  acme.streams = {"ORDERS", "NEX_DLQ_acme"};
  EXPECT_TRUE(access_of("acme", {acme})->may_use_stream("ORDERS"));
  EXPECT_TRUE(access_of("acme", {acme})->may_use_stream("acme__S"));
  EXPECT_FALSE(access_of("acme", {acme})->may_use_stream("NEX_DLQ_acme"));
  EXPECT_FALSE(access_of("default", {acme})->may_use_stream("ORDERS"));
  EXPECT_TRUE(access_of("default", {acme})->may_use_stream("PAYMENTS"));
}

TEST(Access, ServicesOfOthersAreNotAskedFor) {
  EXPECT_TRUE(access_of("default")->may_publish("$SRV.PING"));
  const auto shared = access_of("default", {record("acme")});
  EXPECT_FALSE(shared->may_publish("$SRV.INFO"));
  EXPECT_FALSE(shared->may_publish("$SRV.INFO.echo"));
  EXPECT_TRUE(shared->may_publish("$SRV.INFO.echo.Tz1vJ6"));
  EXPECT_FALSE(access_of("acme")->may_publish("$SRV.STATS.echo"));
}

TEST(Access, AnswersDoNotGoWhereOthersListen) {
  const auto access = access_of("acme", {record("acme", {"acme.>"}), record("beta", {"beta.>"})});
  for (const std::string reply : {"_INBOX.a.1", "_R_.x.1", "acme.done", "_INBOX_alice.x", "neutral"}) {
    EXPECT_TRUE(access->may_answer(reply)) << reply;
  }
  for (const std::string reply : {"beta.x", "$NEX.SVC.beta.control.STOP", "$JS.API.STREAM.DELETE.x",
                                  "$KV.NEX_SECRETS.x", "$SYS.x", "$SRV.PING", "_GR_.x", "", "a..b", "a.>"}) {
    EXPECT_FALSE(access->may_answer(reply)) << reply;
  }
}

TEST(Access, OnlyWhatIsDeclaredOnceAnythingIs) {
  Grants grants;
  grants.is_declared = true;
  grants.publish = {"out.*"};
  grants.subscribe = {"in.>"};
  grants.buckets = {"state"};
  grants.streams = {"ORDERS"};
  const auto access = access_of("default", {}, grants);
  EXPECT_TRUE(access->may_publish("out.a"));
  EXPECT_FALSE(access->may_publish("out.a.b"));
  EXPECT_FALSE(access->may_publish("in.a"));
  EXPECT_TRUE(access->may_subscribe("in.a.*"));
  EXPECT_FALSE(access->may_subscribe("in"));
  EXPECT_FALSE(access->may_subscribe("out.a"));
  EXPECT_TRUE(access->may_use_key_value("state"));
  EXPECT_TRUE(access->may_use_stream("KV_state"));
  EXPECT_TRUE(access->may_use_stream("ORDERS"));
  EXPECT_FALSE(access->may_use_stream("PAYMENTS"));
  EXPECT_FALSE(access->may_use_key_value("other"));
  EXPECT_FALSE(access->may_use_object_store("state"));
  EXPECT_TRUE(access->may_subscribe("_INBOX.x.*"));
  EXPECT_TRUE(access->may_subscribe("$SRV.PING.svc"));
  EXPECT_FALSE(access->may_publish("$SRV.PING"));
}

TEST(Access, GrantsDoNotReachBeyondTheNamespace) {
  Grants grants;
  grants.is_declared = true;
  grants.publish = {">", "$SYS.>", "_INBOX.>"};
  grants.subscribe = {">", "$NEX.>", "_INBOX.>"};
  grants.buckets = {"ledger", "NEX_SECRETS", "beta__x", "state"};
  grants.streams = {"beta__S", "NEX_DLQ_acme", "acme__S", "S"};
  const auto access = access_of("acme", {record("beta", {"beta.>"}, {"ledger"})}, grants);
  EXPECT_TRUE(access->may_publish("x"));
  EXPECT_FALSE(access->may_publish("beta.x"));
  EXPECT_FALSE(access->may_publish("$SYS.x"));
  EXPECT_FALSE(access->may_subscribe(">"));
  EXPECT_FALSE(access->may_subscribe("$NEX.x"));
  EXPECT_FALSE(access->may_subscribe("_INBOX.>"));
  EXPECT_TRUE(access->may_use_key_value("state"));
  EXPECT_TRUE(access->may_use_stream("KV_acme__state"));
  EXPECT_FALSE(access->may_use_stream("KV_ledger"));
  EXPECT_FALSE(access->may_use_key_value("beta__x"));
  EXPECT_FALSE(access->may_use_stream("KV_NEX_SECRETS"));
  EXPECT_TRUE(access->may_use_stream("acme__S"));
  EXPECT_FALSE(access->may_use_stream("beta__S"));
  EXPECT_FALSE(access->may_use_stream("S"));
  EXPECT_FALSE(access->may_use_stream("NEX_DLQ_acme"));
}

Namespaces with_streams(std::vector<NamespaceRecord> records, StreamContents streams) {
  Namespaces all(std::move(records));
  all.streams = std::make_shared<const StreamContents>(std::move(streams));
  return all;
}

TEST(Access, StreamsAreJudgedByWhatTheyCollect) {
  const StreamContents streams = {
      {"ORDERS", {{"orders.>"}, {}, false}},       {"TAPPED", {{"orders.x", "beta.>"}, {}, false}},
      {"EVERYTHING", {{">"}, {}, false}},          {"ADVISORIES", {{"$JS.EVENT.ADVISORY.>"}, {}, false}},
      {"COPY", {{}, {"TAPPED"}, false}},           {"COPY2", {{}, {"COPY"}, false}},
      {"SECRETS", {{}, {"KV_NEX_SECRETS"}, false}}, {"ABROAD", {{}, {"X"}, true}},
      {"BETAS", {{"beta.log.>"}, {}, false}},      {"BETACOPY", {{}, {"BETAS"}, false}},
      {"beta__MIXED", {{"beta.x", "orders.y"}, {}, false}},
      {"KV_shared", {{}, {"KV_beta__ledger"}, false}}, {"KV_plain", {{"$KV.plain.>"}, {}, false}},
      {"LOOP", {{}, {"LOOP"}, false}}};
  const Namespaces all = with_streams({record("beta", {"beta.>"})}, streams);
  const auto owner = Access::make({"default", "it"}, {}, all);
  for (const char* name : {"ORDERS", "KV_plain", "UNKNOWN"}) EXPECT_TRUE(owner->may_use_stream(name)) << name;
  for (const char* name : {"TAPPED", "EVERYTHING", "ADVISORIES", "COPY", "COPY2", "SECRETS", "ABROAD", "BETAS",
                           "BETACOPY", "KV_shared", "LOOP"}) {
    EXPECT_FALSE(owner->may_use_stream(name)) << name;
    EXPECT_FALSE(owner->may_read_stream(name)) << name;
    EXPECT_FALSE(owner->may_publish(std::string("$JS.API.CONSUMER.CREATE.") + name)) << name;
    EXPECT_FALSE(owner->may_publish(std::string("$JS.API.DIRECT.GET.") + name)) << name;
  }
  EXPECT_FALSE(owner->may_use_key_value("shared"));
  EXPECT_TRUE(owner->may_use_key_value("plain"));
  const auto beta = Access::make({"beta", "it"}, {}, all);
  for (const char* name : {"BETAS", "BETACOPY"}) {
    EXPECT_TRUE(beta->may_read_stream(name)) << name;
    EXPECT_FALSE(beta->may_use_stream(name)) << name;
    EXPECT_TRUE(beta->may_publish(std::string("$JS.API.CONSUMER.CREATE.") + name));
    EXPECT_FALSE(beta->may_publish(std::string("$JS.API.STREAM.DELETE.") + name));
    EXPECT_FALSE(beta->may_publish(std::string("$JS.API.STREAM.PURGE.") + name));
  }
  for (const char* name : {"ORDERS", "TAPPED", "EVERYTHING", "beta__MIXED", "COPY"}) {
    EXPECT_FALSE(beta->may_read_stream(name)) << name;
  }
  EXPECT_TRUE(beta->may_use_stream("beta__NEW"));
}

TEST(Access, ARecordListsStreamsWhateverTheyCollect) {
  NamespaceRecord acme = record("acme", {"acme.>"});
  acme.streams = {"EVERYTHING"};
  const Namespaces all = with_streams({acme, record("beta", {"beta.>"})}, {{"EVERYTHING", {{">"}, {}, false}},
                                                                          {"BETAS", {{"beta.>"}, {}, false}}});
  EXPECT_TRUE(Access::make({"acme", "it"}, {}, all)->may_use_stream("EVERYTHING"));
  EXPECT_FALSE(Access::make({"default", "it"}, {}, all)->may_use_stream("EVERYTHING"));
  Grants grants;
  grants.is_declared = true;
  EXPECT_FALSE(Access::make({"beta", "it"}, grants, all)->may_read_stream("BETAS"));
  grants.streams = {"BETAS"};
  EXPECT_TRUE(Access::make({"beta", "it"}, grants, all)->may_read_stream("BETAS"));
}

}  // namespace
}  // namespace brokkr::workload
