// Backups and restores: the formats, and the exchange on the wire.
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/random.h"
#include "jetstream/archive.h"
#include "jetstream/s2.h"
#include "jetstream/wire_test.h"

namespace brokkr::jetstream {
namespace {

// What nats-server 2.15.2 gave for a stream S on "s.>" with messages 1 (s.a, "hello") and 3 (s.a,
// "three"), 2 having been deleted, and a consumer C.
constexpr std::string_view kForeignArchive =
    "/wYAAFMyc1R3TwACAgCjcrS9qgXETkFUU0FSQzEKwMaYgdHT2uoxAAC/AXN0YXRlLmpzb257Im1lc3NhZ2VzIjoyLCJieXQBCjw3"
    "NiwiZmlyc3Rfc2VxIjoxEQ6cdHMiOiIyMDI2LTExLTIzVDE1OjEyOjI5LjM5MDAxNTM1MVoiLCJsYRE5ADMNDWI4ACA1ODMzMTA0"
    "MzcBOCRudW1fc3ViamVjATAAMQkRGGRlbGV0ZWQFEEhjb25zdW1lcl9jb3VudCI6MX0LHdcEgwMRIHhzL0N7ImNvbmZpZyI6eyJk"
    "dXJhYmxlX25hbWUiOiJDAWsZC2RkZWxpdmVyX3BvbGljeSI6ImFsbCIsImFjaxkTHGV4cGxpY2l0DRggd2FpdCI6MzAwEQIULCJt"
    "YXhfDUosIjotMSwicmVwbGF5GUMUaW5zdGFuAUI8bWF4X3dhaXRpbmciOjUxMgk9HGFja19wZW5kBRYAMQVUIRABR0BpY2FzIjow"
    "LCJtZXRhZGF0YQHVgF9uYXRzLnJlcS5sZXZlbCI6IjAifSwicGF1c2VfdW50aQUTDDAwMS0FAwxUMDA6BQMAWgEmRQABRg2zBGVk"
    "AQ0xPyn1ADIBJwxyZWFtSQQEMn0J/BBmbG9vcoouAHB9fQPurazoydPa6jEBAAVzLmFoZWxsbwPK+degy0GIAAMFFSR0aHJlZQAA"
    "AAAA";

TEST(S2, ReadsWhatItWrites) {
  const uint64_t seed = secure_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  SeededRandom random(seed);
  for (int round = 0; round < 30; ++round) {
    std::string plain;
    const size_t size = random.below(200'000);
    // Noise, repetition and runs, mixed.
    while (plain.size() < size) {
      const uint64_t kind = random.below(3);
      if (kind == 0) plain.push_back(static_cast<char>(random.next()));
      if (kind == 1) plain.append(random.below(100), static_cast<char>('a' + random.below(4)));
      if (kind == 2 && !plain.empty()) plain.append(plain.substr(random.below(plain.size()), random.below(300)));
    }
    S2Writer writer;
    std::string packed;
    writer.add(std::string_view(plain).substr(0, plain.size() / 2), packed);
    writer.add(std::string_view(plain).substr(plain.size() / 2), packed);
    writer.finish(packed);
    S2Reader reader;
    std::string read;
    for (size_t at = 0; at < packed.size();) {
      const size_t part = 1 + random.below(50'000);
      ASSERT_TRUE(reader.add(std::string_view(packed).substr(at, part), [&](std::string_view bytes) -> Status {
        read.append(bytes);
        return {};
      }));
      at += part;
    }
    ASSERT_TRUE(reader.finish());
    ASSERT_EQ(read, plain);
  }
}

TEST(S2, RefusesDamage) {
  const std::string good = *base64_decode(kForeignArchive);
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    S2Reader reader;
    std::string read;
    Status status = reader.add(bad, [&](std::string_view bytes) -> Status {
      read.append(bytes);
      return {};
    });
    if (status) status = reader.finish();
    // What is skipped over is not in what was read.
    EXPECT_TRUE(!status || read.empty()) << "bit " << bit;
  }
}

class TransferTest : public JetStreamTest {
 protected:
  // Sends the archive; the final answer.
  std::string restore(WireClient& with, const std::string& name, std::string_view archive, size_t chunk) {
    const std::string begun = with.ask("$JS.API.STREAM.RESTORE." + name,
                                       "{\"config\":{\"name\":\"" + name + "\",\"subjects\":[\"s.>\"],\"storage\":\"file\"," +
                                           "\"retention\":\"limits\",\"num_replicas\":1},\"state\":{\"first_seq\":1,\"last_seq\":3}}").body;
    const size_t at = begun.find("$JS.SNAPSHOT.RESTORE.");
    if (at == std::string::npos) return begun;
    const std::string subject = begun.substr(at, begun.find('"', at) - at);
    for (size_t sent = 0; sent < archive.size(); sent += chunk) {
      const WireMessage answer = with.ask(subject, archive.substr(sent, chunk));
      if (!answer.body.empty()) return answer.body;
    }
    return with.ask(subject, "").body;
  }

  // The whole archive of a stream.
  std::string backup(WireClient& with, const std::string& name, const std::string& options = "") {
    const std::string deliver = with.inbox("chunks");
    const std::string begun = with.ask("$JS.API.STREAM.SNAPSHOT." + name, "{\"deliver_subject\":\"" + deliver + "\"" + options + "}").body;
    EXPECT_NE(begun.find("\"config\""), std::string::npos) << begun;
    std::string archive;
    for (;;) {
      const WireMessage chunk = with.next(deliver);
      if (!chunk.is_there) return "no end";
      if (chunk.body.empty()) {
        EXPECT_EQ(chunk.headers.find("408"), std::string::npos) << chunk.headers;
        return archive;
      }
      archive += chunk.body;
      if (!chunk.reply.empty()) with.publish(chunk.reply, "");
    }
  }
};

TEST_F(TransferTest, RestoresAnArchiveOfNatsServer) {
  WireClient nats = client();
  const std::string answer = restore(nats, "S", *base64_decode(kForeignArchive), 100);
  EXPECT_NE(answer.find("\"type\":\"io.nats.jetstream.api.v1.stream_create_response\""), std::string::npos) << answer;
  EXPECT_EQ(number(answer, "messages"), 2) << answer;
  EXPECT_EQ(number(answer, "last_seq"), 3) << answer;
  const std::string message = nats.ask("$JS.API.STREAM.MSG.GET.S", "{\"seq\":3}").body;
  EXPECT_NE(message.find("\"data\":\"dGhyZWU=\""), std::string::npos) << message;
  EXPECT_NE(message.find("2026-11-23T15:12:29.583310437Z"), std::string::npos) << message;
}

TEST_F(TransferTest, ARestoredBackupIsTheStreamAgain) {
  WireClient nats = client();
  create(nats, "S", "\"subjects\":[\"s.>\"]");
  for (int i = 0; i < 200; ++i) nats.put("s." + std::to_string(i % 7), std::string(static_cast<size_t>(i) * 10, 'x'), "A: b\r\n");
  nats.ask("$JS.API.STREAM.MSG.DELETE.S", "{\"seq\":100}");
  const std::string before = nats.ask("$JS.API.STREAM.INFO.S").body;
  const std::string archive = backup(nats, "S", ",\"chunk_size\":5000,\"window_size\":10000");
  nats.ask("$JS.API.STREAM.DELETE.S");
  const std::string answer = restore(nats, "S", archive, 4096);
  for (const char* key : {"messages", "bytes", "first_seq", "last_seq", "num_subjects", "num_deleted"}) {
    EXPECT_EQ(number(answer, key), number(before, key)) << key << " of " << answer;
  }
  restart();
  WireClient again = client();
  EXPECT_EQ(number(info(again, "S"), "messages"), 199);
}

TEST_F(TransferTest, RefusesWhatIsNoArchive) {
  WireClient nats = client();
  const std::string answer = restore(nats, "S", std::string(5000, 'x'), 1000);
  EXPECT_NE(answer.find("\"err_code\":10062"), std::string::npos) << answer;
  EXPECT_NE(info(nats, "S").find("10059"), std::string::npos);
  // Its name is free.
  create(nats, "S", "\"subjects\":[\"s.>\"]");
  EXPECT_NE(restore(nats, "S", "", 1).find("10130"), std::string::npos);
}

}  // namespace
}  // namespace brokkr::jetstream
