// The API's answers, byte for byte as nats-server 2.15 gives them, but for versions and times.
#include <gtest/gtest.h>

#include "jetstream/go_syntax.h"
#include "jetstream/wire_test.h"

namespace brokkr::jetstream {
namespace {

std::string error_answer(const char* type, int code, int err_code, const std::string& text,
                         const std::string& members = {}) {
  std::string quoted;
  json::append_quoted(quoted, text);
  return std::string("{\"type\":\"io.nats.jetstream.api.v1.") + type +
         "\",\"error\":{\"code\":" + std::to_string(code) +
         ",\"err_code\":" + std::to_string(err_code) + ",\"description\":" + quoted + "}" + members +
         "}";
}

// The value of a member "name":"…" taken out.
std::string without(std::string text, const std::string& name) {
  const std::string begin = "\"" + name + "\":\"";
  for (size_t at = text.find(begin); at != std::string::npos; at = text.find(begin, at + 1)) {
    const size_t start = at + begin.size();
    text.erase(start, text.find('"', start) - start);
  }
  return text;
}

std::string masked(std::string text) {
  for (const char* name : {"created", "ts", "leader", "time"}) text = without(text, name);
  return text;
}

constexpr const char* kConfigOfA =
    R"("config":{"name":"A","subjects":["A"],"retention":"limits","max_consumers":-1,"max_msgs":-1,)"
    R"("max_bytes":-1,"max_age":0,"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old",)"
    R"("storage":"file","num_replicas":1,"duplicate_window":120000000000,"compression":"none",)"
    R"("allow_direct":false,"mirror_direct":false,"sealed":false,"deny_delete":false,)"
    R"("deny_purge":false,"allow_rollup_hdrs":false,"consumer_limits":{},"allow_msg_ttl":false,)"
    R"("metadata":{"_nats.level":"2","_nats.req.level":"0","_nats.ver":"2.12.3"}},"created":"",)";
constexpr const char* kEmptyState =
    R"("state":{"messages":0,"bytes":0,"first_seq":0,"first_ts":"0001-01-01T00:00:00Z",)"
    R"("last_seq":0,"last_ts":"0001-01-01T00:00:00Z","consumer_count":0},)";

TEST_F(JetStreamTest, StreamsAreMadeShownAndDeleted) {
  WireClient c = client();
  const std::string created =
      std::string(R"({"type":"io.nats.jetstream.api.v1.stream_create_response",)") + kConfigOfA +
      kEmptyState + R"("ts":"","did_create":true})";
  EXPECT_EQ(masked(c.ask("$JS.API.STREAM.CREATE.A", R"({"name":"A"})").body), created);
  EXPECT_EQ(masked(c.ask("$JS.API.STREAM.CREATE.A", R"({"name":"A"})").body), created);
  EXPECT_EQ(c.ask("$JS.API.STREAM.CREATE.A", R"({"name":"A","max_msgs":5})").body,
            error_answer("stream_create_response", 400, 10058,
                         "stream name already in use with a different configuration"));
  EXPECT_EQ(masked(info(c, "A")),
            std::string(R"({"type":"io.nats.jetstream.api.v1.stream_info_response","total":0,)") +
                R"("offset":0,"limit":0,)" + kConfigOfA + kEmptyState +
                R"("cluster":{"leader":""},"ts":""})");
  EXPECT_EQ(c.ask("$JS.API.STREAM.DELETE.A").body,
            R"({"type":"io.nats.jetstream.api.v1.stream_delete_response","success":true})");
  EXPECT_EQ(info(c, "A"), error_answer("stream_info_response", 404, 10059, "stream not found",
                                       R"(,"total":0,"offset":0,"limit":0)"));
}

TEST_F(JetStreamTest, AccountInfoCountsRequests) {
  WireClient c = client();
  const auto answer = [](const char* streams, const char* api) {
    return std::string(R"({"type":"io.nats.jetstream.api.v1.account_info_response","memory":0,)") +
           R"("storage":0,"reserved_memory":0,"reserved_storage":0,"streams":)" + streams +
           R"(,"consumers":0,"limits":{"max_memory":-1,"max_storage":-1,"max_streams":-1,)"
           R"("max_consumers":-1,"max_ack_pending":-1,"memory_max_stream_bytes":-1,)"
           R"("storage_max_stream_bytes":-1,"max_bytes_required":false},"api":{"level":2,)" +
           api + "}}";
  };
  EXPECT_EQ(c.ask("$JS.API.INFO").body, answer("0", R"("total":0,"errors":0)"));
  create(c, "A", R"("subjects":["a"])");
  c.ask("$JS.API.STREAM.INFO.none");
  EXPECT_EQ(c.ask("$JS.API.INFO").body, answer("1", R"("total":3,"errors":1)"));
}

TEST_F(JetStreamTest, JsonIsReadAsGoDoes) {
  WireClient c = client();
  const std::pair<const char*, const char*> cases[] = {
      {"{", "unexpected EOF"},
      {"nope", "invalid character 'o' in literal null (expecting 'u') at offset 2"},
      {R"({"name":})", "invalid character '}' looking for beginning of value at offset 9"},
      {R"({"name":"A"} x)", "invalid character 'x' looking for beginning of value at offset 14"},
      {R"({"name":"A","x":1})", R"(json: unknown field "x")"},
      {R"({"name":"A","placement":{"x":1}})", R"(json: unknown field "x")"},
      {R"({"name":"A","max_msgs":"x"})",
       "json: cannot unmarshal string into Go struct field StreamConfigRequest.StreamConfig.max_msgs "
       "of type int64"},
      {R"({"name":"A","max_msgs":1.5})",
       "json: cannot unmarshal number 1.5 into Go struct field "
       "StreamConfigRequest.StreamConfig.max_msgs of type int64"},
      {R"({"name":"A","max_msg_size":99999999999})",
       "json: cannot unmarshal number 99999999999 into Go struct field "
       "StreamConfigRequest.StreamConfig.max_msg_size of type int32"},
      {R"({"name":"A","retention":"x"})", R"(can not unmarshal "\"x\"")"},
      {R"({"name":"A","compression":"x"})", "unknown compression algorithm"},
      {R"({"name":"A","subjects":[1]})",
       "json: cannot unmarshal number into Go struct field StreamConfigRequest.StreamConfig.subjects "
       "of type string"},
      {R"({"name":"A","placement":5})",
       "json: cannot unmarshal number into Go struct field StreamConfigRequest.StreamConfig.placement "
       "of type server.Placement"},
      {R"({"name":"A","placement":{"tags":[1]}})",
       "json: cannot unmarshal number into Go struct field Placement.StreamConfig.placement.tags of "
       "type string"},
      {R"({"name":"A","sources":[{"external":{"api":5}}]})",
       "json: cannot unmarshal number into Go struct field "
       "ExternalStream.StreamConfig.sources.external.api of type string"},
      {R"({"name":"A","mirror":{"opt_start_time":5}})",
       "Time.UnmarshalJSON: input is not a JSON string"},
      {"[]", "json: cannot unmarshal array into Go value of type server.StreamConfigRequest"},
  };
  for (const auto& [body, text] : cases) {
    EXPECT_EQ(c.ask("$JS.API.STREAM.CREATE.A", body).body,
              error_answer("stream_create_response", 400, 10025, std::string("invalid JSON: ") + text));
  }
  EXPECT_EQ(c.ask("$JS.API.STREAM.CREATE.A", "null").body,
            error_answer("stream_create_response", 400, 10056,
                         "stream name in subject does not match request"));
  EXPECT_NE(c.ask("$JS.API.STREAM.CREATE.A", R"({"NAME":"A","subjects":null})").body.find("did_create"),
            std::string::npos);
}

TEST(GoSyntax, FindsTheFirstFault) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"name":"A",})", "invalid character '}' looking for beginning of object key string at offset 13"},
      {R"({name:"A"})", "invalid character 'n' looking for beginning of object key string at offset 2"},
      {R"({"a":1 "b":2})", "invalid character '\"' after object key:value pair at offset 8"},
      {R"({"a":[1 2]})", "invalid character '2' after array element at offset 9"},
      {R"({"a":"\q"})", "invalid character 'q' in string escape code at offset 8"},
      {R"({"name":"A\u00zz"})", "invalid character 'z' in \\u hexadecimal character escape at offset 15"},
      {R"({"a":01})", "invalid character '1' after object key:value pair at offset 7"},
      {R"({"a":1.})", "invalid character '}' after decimal point in numeric literal at offset 8"},
      {R"({"a":1e})", "invalid character '}' in exponent of numeric literal at offset 8"},
      {R"({"a":-})", "invalid character '}' in numeric literal at offset 7"},
      {"{\"a\n", "invalid character '\\n' in string literal at offset 4"},
      {R"({"a":"b)", "unexpected EOF"},
      {R"({"a":[{"b":null},true,-1.5e+3,"\u00e9"]} {})", ""},
      {" \t\r\n", ""},
  };
  for (const auto& [text, fault] : cases) EXPECT_EQ(find_go_syntax_error(text), fault) << text;
}

TEST_F(JetStreamTest, ConfigurationsAreCheckedInOrder) {
  WireClient c = client();
  create(c, "TAKEN", R"("subjects":["taken.*"])");
  struct Case {
    const char* members;
    int err_code;
    const char* text;
  };
  const Case cases[] = {
      {R"("sealed":true)", 10052, "stream configuration for create can not be sealed"},
      {R"("mirror_direct":true)", 10052, "stream has no mirror but does have mirror direct"},
      {R"("num_replicas":6)", 10052, "maximum replicas is 5"},
      {R"("num_replicas":-1)", 10133, "replicas count cannot be negative"},
      {R"("max_age":-1)", 10052, "max age can not be negative"},
      {R"("max_age":1)", 10052, "max age needs to be >= 100ms"},
      {R"("max_age":100000000,"duplicate_window":200000000)", 10052,
       "duplicates window can not be larger then max age"},
      {R"("duplicate_window":1)", 10052, "duplicates window needs to be >= 100ms"},
      {R"("deny_purge":true,"allow_rollup_hdrs":true)", 10052, "roll-ups require the purge permission"},
      {R"("discard_new_per_subject":true)", 10052,
       "discard new per subject requires discard new policy to be set"},
      {R"("discard_new_per_subject":true,"discard":"new")", 10052,
       "discard new per subject requires max msgs per subject > 0"},
      {R"("subject_delete_marker_ttl":1)", 10052, "subject delete marker TTL must be at least 1 second"},
      {R"("mirror":{"name":"M"},"subjects":["x"])", 10034, "stream mirrors can not contain subjects"},
      {R"("sources":[{"name":"M"},{"name":"M"}])", 10140, "duplicate source configuration detected"},
      {R"("mirror":{"name":"X"})", 10052, "detected cycle"},
      {R"("subjects":["a..b"])", 10052, "invalid subject"},
      {R"("subjects":["a.*","a.b"])", 10052, R"(subject "a.*" overlaps with "a.b")"},
      {R"("subjects":[">"])", 10052, "capturing all subjects requires no-ack to be true"},
      {R"("subjects":["$JS.API.x"])", 10052,
       "subjects that overlap with jetstream api require no-ack to be true"},
      {R"("subjects":["$SYS.x"])", 10052,
       "subjects that overlap with system api require no-ack to be true"},
      {R"("subjects":["x"],"republish":{"dest":"x"})", 10052,
       "stream configuration for republish destination forms a cycle"},
      {R"("placement":{"preferred":"s"})", 10052, "preferred server not permitted in placement"},
      {R"("subjects":["taken.x"])", 10065, "subjects overlap with an existing stream"},
      {R"("max_msgs":-2,"pedantic":true)", 10157, "pedantic mode: max_msgs must be set to -1"},
  };
  for (const Case& each : cases) {
    const std::string body = std::string(R"({"name":"X",)") + each.members + "}";
    const std::string answer = c.ask("$JS.API.STREAM.CREATE.X", body).body;
    std::string text;
    json::append_quoted(text, each.text);
    EXPECT_EQ(number(answer, "err_code"), each.err_code) << body << "\n" << answer;
    EXPECT_NE(answer.find("\"description\":" + text), std::string::npos) << body << "\n" << answer;
  }
  const std::string replicas = c.ask("$JS.API.STREAM.CREATE.X", R"({"name":"X","num_replicas":3})").body;
  EXPECT_NE(replicas.find(R"("err_code":10074,"description":"replicas \u003e 1 not supported in non-clustered mode)"),
            std::string::npos) << replicas;
}

TEST_F(JetStreamTest, UpdatesKeepTheirPromises) {
  WireClient c = client();
  create(c, "A", R"("subjects":["a"],"deny_delete":true,"allow_msg_ttl":true,"max_msgs":10)");
  const std::pair<const char*, const char*> cases[] = {
      {R"("storage":"memory","deny_delete":true,"allow_msg_ttl":true)",
       "stream configuration update can not change storage type"},
      {R"("retention":"workqueue","deny_delete":true,"allow_msg_ttl":true)",
       "stream configuration update can not change retention policy to/from workqueue"},
      {R"("allow_msg_ttl":true)", "stream configuration update can not cancel deny message deletes"},
      {R"("deny_delete":true)", "message TTL status can not be disabled"},
  };
  for (const auto& [members, text] : cases) {
    const std::string answer = update(c, "A", members);
    EXPECT_NE(answer.find(text), std::string::npos) << answer;
  }
  const std::string changed =
      update(c, "A", R"("subjects":["b"],"deny_delete":true,"allow_msg_ttl":true,"max_msgs":3)");
  EXPECT_EQ(number(changed, "max_msgs"), 3) << changed;
  EXPECT_NE(c.put("b").find("\"seq\":1"), std::string::npos);
  EXPECT_NE(c.ask("a").headers.find(" 503"), std::string::npos);
}

TEST_F(JetStreamTest, ListsHavePages) {
  WireClient c = client();
  EXPECT_EQ(c.ask("$JS.API.STREAM.NAMES").body,
            R"({"type":"io.nats.jetstream.api.v1.stream_names_response","total":0,"offset":0,)"
            R"("limit":1024,"streams":null})");
  EXPECT_EQ(c.ask("$JS.API.STREAM.LIST").body,
            R"({"type":"io.nats.jetstream.api.v1.stream_list_response","total":0,"offset":0,)"
            R"("limit":256,"streams":[]})");
  for (const char* name : {"B", "A", "C"}) create(c, name, std::string(R"("subjects":["x.)") + name + "\"]");
  EXPECT_EQ(c.ask("$JS.API.STREAM.NAMES", R"({"offset":1})").body,
            R"({"type":"io.nats.jetstream.api.v1.stream_names_response","total":3,"offset":1,)"
            R"("limit":1024,"streams":["B","C"]})");
  EXPECT_EQ(c.ask("$JS.API.STREAM.NAMES", R"({"subject":"*.C","offset":-1})").body,
            R"({"type":"io.nats.jetstream.api.v1.stream_names_response","total":1,"offset":0,)"
            R"("limit":1024,"streams":["C"]})");
  const std::string list = c.ask("$JS.API.STREAM.LIST", R"({"offset":9})").body;
  EXPECT_EQ(list,
            R"({"type":"io.nats.jetstream.api.v1.stream_list_response","total":3,"offset":3,)"
            R"("limit":256,"streams":[]})");
}

TEST_F(JetStreamTest, MessagesAreReadPurgedAndDeleted) {
  WireClient c = client();
  create(c, "A", R"("subjects":["a.>"])");
  for (const char* subject : {"a.1", "a.2", "a.1", "a.2"}) c.put(subject, "hi", "K: v\r\n");
  EXPECT_EQ(masked(c.ask("$JS.API.STREAM.MSG.GET.A", R"({"last_by_subj":"a.1"})").body),
            R"({"type":"io.nats.jetstream.api.v1.stream_msg_get_response","message":{)"
            R"("subject":"a.1","seq":3,"hdrs":"TkFUUy8xLjANCks6IHYNCg0K","data":"aGk=","time":""}})");
  EXPECT_EQ(c.ask("$JS.API.STREAM.MSG.GET.A", R"({"seq":9})").body,
            error_answer("stream_msg_get_response", 404, 10037, "no message found"));
  for (const char* bad : {"", "{}", R"({"seq":1,"last_by_subj":"a"})", R"({"seq":1,"batch":1})"}) {
    EXPECT_EQ(c.ask("$JS.API.STREAM.MSG.GET.A", bad).body,
              error_answer("stream_msg_get_response", 400, 10003, "bad request"));
  }
  EXPECT_EQ(number(c.ask("$JS.API.STREAM.MSG.GET.A", R"({"next_by_subj":"*.2","seq":3})").body, "seq"), 4);
  EXPECT_EQ(c.ask("$JS.API.STREAM.MSG.DELETE.A", R"({"seq":2})").body,
            R"({"type":"io.nats.jetstream.api.v1.stream_msg_delete_response","success":true})");
  EXPECT_EQ(c.ask("$JS.API.STREAM.MSG.DELETE.A", R"({"seq":2})").body,
            error_answer("stream_msg_delete_response", 400, 10043, "sequence 2 not found"));
  const std::string detailed =
      c.ask("$JS.API.STREAM.INFO.A", R"({"deleted_details":true,"subjects_filter":"a.1"})").body;
  EXPECT_NE(detailed.find(R"("total":1,"offset":0,"limit":100000)"), std::string::npos) << detailed;
  EXPECT_NE(detailed.find(R"("num_subjects":2,"subjects":{"a.1":2},"num_deleted":1,"deleted":[2])"),
            std::string::npos) << detailed;
  EXPECT_EQ(c.ask("$JS.API.STREAM.PURGE.A", R"({"seq":1,"keep":1})").body,
            error_answer("stream_purge_response", 400, 10003, "bad request", R"(,"purged":0)"));
  EXPECT_EQ(c.ask("$JS.API.STREAM.PURGE.A", R"({"filter":"a.1"})").body,
            R"({"type":"io.nats.jetstream.api.v1.stream_purge_response","success":true,"purged":2})");
  EXPECT_EQ(c.ask("$JS.API.STREAM.PURGE.A").body,
            R"({"type":"io.nats.jetstream.api.v1.stream_purge_response","success":true,"purged":1})");
  EXPECT_EQ(number(info(c, "A"), "first_seq"), 5);
}

TEST_F(JetStreamTest, RequestsThatCannotBeServedAreTold) {
  WireClient c = client();
  create(c, "A", R"("subjects":["a"])");
  EXPECT_EQ(c.ask("$JS.API.STREAM.DELETE.A", "x").body,
            error_answer("stream_delete_response", 400, 10038, "expected an empty request payload"));
  EXPECT_EQ(c.ask("$JS.API.STREAM.INFO.A", "", "Nats-Required-Api-Level: 9\r\n").body,
            error_answer("stream_info_response", 412, 10185, "JetStream minimum api level required",
                         R"(,"total":0,"offset":0,"limit":0)"));
  const std::string cluster = c.ask("$JS.API.STREAM.LEADER.STEPDOWN.A").body;
  EXPECT_NE(cluster.find(R"("err_code":10010,"description":"JetStream clustering support required)"),
            std::string::npos) << cluster;
  EXPECT_EQ(c.ask("$JS.API.STREAM.NONSENSE.A").body,
            error_answer("system_response", 400, 10003, "bad request"));
  EXPECT_NE(c.ask("$JS.API.CONSUMER.MSG.NEXT.A.none").headers.find(" 503"), std::string::npos);
}

TEST_F(JetStreamTest, AdvisoriesTellWhatWasAsked) {
  WireClient listener = client();
  listener.subscribe("$JS.EVENT.ADVISORY.>", "1");
  WireClient c = client();
  create(c, "A", R"("subjects":["a"])");
  const WireMessage made = listener.next("$JS.EVENT.ADVISORY.STREAM.CREATED.A");
  EXPECT_EQ(without(without(made.body, "id"), "timestamp"),
            R"({"type":"io.nats.jetstream.advisory.v1.stream_action","id":"","timestamp":"",)"
            R"("stream":"A","action":"create"})");
  const std::string audit = listener.next("$JS.EVENT.ADVISORY.API").body;
  EXPECT_NE(audit.find(R"("acc":"$G")"), std::string::npos) << audit;
  EXPECT_NE(audit.find(R"("kind":"Client","client_type":"nats"},"subject":"$JS.API.STREAM.CREATE.A",)"
                       R"("request":"{\"name\":\"A\",\"subjects\":[\"a\"]}","response":")"),
            std::string::npos) << audit;
}

TEST_F(JetStreamTest, TooManyRequestsAreDropped) {
  stop();
  options_.request_queue_limit = 2;
  start();
  WireClient listener = client();
  listener.subscribe("$JS.EVENT.ADVISORY.API.LIMIT_REACHED", "1");
  WireClient c = client();
  std::string many;
  for (int i = 0; i < 5; ++i) {
    many += "PUB $JS.API.INFO " + c.inbox("m" + std::to_string(i)) + " 0\r\n\r\n";
  }
  c.send(many);
  EXPECT_TRUE(c.next(c.inbox("m1")).is_there);
  EXPECT_NE(listener.next().body.find(R"("dropped":3)"), std::string::npos);
}

TEST_F(JetStreamTest, DomainHasAPrefixOfItsOwn) {
  stop();
  options_.domain = "hub";
  start();
  WireClient c = client();
  create(c, "A", R"("subjects":["a"],"allow_direct":true)");
  c.put("a", "one");
  EXPECT_NE(c.ask("$JS.hub.API.STREAM.INFO.A").body.find(R"("domain":"hub")"), std::string::npos);
  EXPECT_NE(c.ask("$JS.hub.API.INFO").body.find(R"("domain":"hub")"), std::string::npos);
  EXPECT_EQ(c.ask("$JS.hub.API.DIRECT.GET.A", R"({"seq":1})").body, "one");
  EXPECT_NE(c.ask("$JS.hub.API.DIRECT.GET.NONE", R"({"seq":1})").headers.find(" 503"),
            std::string::npos);
}

TEST_F(JetStreamTest, LimitsOfAccountsHold) {
  stop();
  AccountLimits limits;
  limits.max_storage = 2000;
  limits.max_streams = 2;
  limits.max_bytes_required = true;
  limits.storage_max_stream_bytes = 1500;
  options_.accounts["$G"] = limits;
  start();
  WireClient c = client();
  const auto make = [&](const char* name, const char* max_bytes) {
    return number(c.ask(std::string("$JS.API.STREAM.CREATE.") + name,
                        std::string(R"({"name":")") + name + R"(","max_bytes":)" + max_bytes + "}").body,
                  "err_code");
  };
  EXPECT_EQ(make("A", "0"), 10113);
  EXPECT_EQ(make("A", "1600"), 10122);
  EXPECT_EQ(make("A", "1500"), -1);
  EXPECT_EQ(make("B", "600"), 10047);
  EXPECT_EQ(make("B", "500"), -1);
  EXPECT_EQ(make("C", "1"), 10027);
}

TEST_F(JetStreamTest, AccountsWithoutJetStreamAreTold) {
  stop();
  options_.accounts["$G"] = std::nullopt;
  start();
  WireClient c = client();
  EXPECT_EQ(c.ask("$JS.API.INFO").body, error_answer("account_info_response", 503, 10039,
                                                     "JetStream not enabled for account"));
  EXPECT_EQ(c.ask("$JS.API.STREAM.NAMES").body,
            error_answer("stream_names_response", 503, 10039, "JetStream not enabled for account",
                         R"(,"total":0,"offset":0,"limit":0,"streams":null)"));
}

TEST_F(JetStreamTest, StreamsComeBack) {
  {
    WireClient c = client();
    create(c, "A", R"("subjects":["a"],"metadata":{"k":"v"},"max_msgs":7)");
    c.put("a", "kept");
  }
  const auto before = [&] {
    WireClient c = client();
    return info(c, "A");
  };
  const std::string first = without(before(), "ts");
  restart();
  EXPECT_EQ(without(without(before(), "ts"), "leader"), without(first, "leader"));
  WireClient c = client();
  EXPECT_NE(c.put("a").find("\"seq\":2"), std::string::npos);
}

}  // namespace
}  // namespace brokkr::jetstream
