// Goal: damage to a run file costs what it hits, and is noticed.
//
// Invariants, whatever one bit, one cut or one lost piece of the file does:
//   - no message reads as something that was not written
//   - no message is unreadable but those hit; every stream is still found by name
//   - verify_run_file finds something
// By default a sample of the cases; all of them with BROKKR_EXHAUSTIVE set.
#include <cstdlib>
#include <cstring>
#include <set>

#include <gtest/gtest.h>

#include "base/random.h"
#include "store/run_test_fixture.h"
#include "store/run_verify.h"

namespace brokkr::store {
namespace {

size_t stride(size_t sampled) {
  return std::getenv("BROKKR_EXHAUSTIVE") != nullptr ? 1 : sampled;
}

// A file with three runs and what is in them.
class RunDamage : public testing::Test {
 protected:
  static constexpr uint32_t kStreams = 3;

  void write(Form form, size_t count, size_t body_bytes) {
    run = std::make_unique<RunFixture>(form);
    const auto out = run->writer();
    messages.clear();
    infos.clear();
    for (uint32_t stream = 1; stream <= kStreams; ++stream) {
      messages.push_back(some_messages(count, body_bytes, 100));
      for (Message& it : messages.back())
        it.body += "of stream " + std::to_string(stream);
      infos.push_back(run->write_run(*out, stream, messages.back()));
    }
    ASSERT_TRUE(out->finish());
    whole = run->bytes();
  }

  // Reads everything as a store with its catalog does. Returns the messages that could not be read;
  // fails the test when one reads wrongly.
  std::set<std::pair<uint32_t, uint64_t>> read_all() {
    std::set<std::pair<uint32_t, uint64_t>> lost;
    const auto file = RunFile::open(run->files, "d", 7, run->keys());
    for (uint32_t stream = 0; stream < kStreams; ++stream) {
      for (const Message& it : messages[stream])
        lost.emplace(stream + 1, it.seq);
      if (!file) continue;
      bool damaged = false;
      const auto index = (*file)->load_index(infos[stream], damaged);
      EXPECT_TRUE(index);
      if (!index) continue;
      std::shared_ptr<const std::string> block;
      for (uint32_t i = 0; i < (*index)->info.count; ++i) {
        const auto got = (*file)->read(**index, i, block);
        EXPECT_TRUE(got);
        if (!got || got->damage != RecordDamage::None) continue;
        block = got->block;
        const Message& expected = messages[stream].at(got->record.seq - 100);
        EXPECT_TRUE(is_equal(got->record, expected))
            << "stream " << stream + 1 << " seq " << got->record.seq;
        lost.erase({stream + 1, got->record.seq});
      }
    }
    return lost;
  }

  std::set<std::string> streams_found() {
    std::set<std::string> names;
    const auto file = RunFile::open(run->files, "d", 7, run->keys());
    if (!file) return names;
    const auto runs = (*file)->list_runs();
    if (!runs) return names;
    for (const auto& [owner, info] : *runs)
      names.insert(owner.name);
    return names;
  }

  bool is_noticed() {
    const auto report = verify_run_file(run->files, "d", 7, run->keys());
    return !report || !report->findings.empty();
  }

  std::unique_ptr<RunFixture> run;
  std::vector<std::vector<Message>> messages;
  std::vector<RunInfo> infos;
  std::string whole;
  const std::set<std::string> all_streams{"S1", "S2", "S3"};
};

TEST_F(RunDamage, AWholeFileVerifies) {
  for (const Form& form : kForms) {
    write(form, 500, 50);
    const auto report = verify_run_file(run->files, "d", 7, run->keys());
    ASSERT_TRUE(report);
    EXPECT_EQ(report->messages, 1500U);
    EXPECT_EQ(report->runs, 3U);
    EXPECT_EQ(report->bytes, whole.size());
    for (const RunFinding& it : report->findings)
      ADD_FAILURE() << form.name << ": " << it.text;
  }
}

TEST_F(RunDamage, EveryFlippedBitCostsOneMessageAtMost) {
  write(kForms[0], 200, 30);
  ASSERT_GT(whole.size(), size_t{64} << 10);
  for (size_t bit = 0; bit < whole.size() * 8; bit += stride(1381)) {
    run->bytes()[bit / 8] = static_cast<char>(whole[bit / 8] ^ 1 << bit % 8);
    ASSERT_LE(read_all().size(), 1U) << "bit " << bit;
    ASSERT_TRUE(is_noticed()) << "bit " << bit;
    ASSERT_EQ(streams_found(), all_streams) << "bit " << bit;
    run->bytes()[bit / 8] = whole[bit / 8];
  }
}

TEST_F(RunDamage, EveryFlippedBitCostsOneBlockAtMost) {
  for (const size_t form : {1, 4}) {
    write(kForms[form], 200, 30);
    for (size_t bit = 0; bit < whole.size() * 8; bit += stride(form == 1 ? 787 : 431)) {
      run->bytes()[bit / 8] = static_cast<char>(whole[bit / 8] ^ 1 << bit % 8);
      ASSERT_LE(read_all().size(), 200U) << "bit " << bit;
      ASSERT_TRUE(is_noticed()) << "bit " << bit;
      ASSERT_EQ(streams_found(), all_streams) << "bit " << bit;
      run->bytes()[bit / 8] = whole[bit / 8];
    }
  }
}

TEST_F(RunDamage, ACutAnywhereCostsWhatIsBehindIt) {
  write(kForms[0], 40, 20);
  std::vector<std::pair<uint64_t, std::pair<uint32_t, uint64_t>>> ends;
  const auto file = run->open();
  for (uint32_t stream = 0; stream < kStreams; ++stream) {
    uint64_t end = infos[stream].footer_offset;
    for (size_t i = messages[stream].size(); i-- > 0;) {
      ends.push_back({end, {stream + 1, messages[stream][i].seq}});
      end -= RunFixture::encode(messages[stream][i]).size();
    }
  }
  for (size_t size = 0; size < whole.size(); size += stride(11)) {
    run->bytes() = whole.substr(0, size);
    std::set<std::pair<uint32_t, uint64_t>> expected;
    for (const auto& [end, message] : ends) {
      if (end > size || size < 64) expected.insert(message);
    }
    ASSERT_EQ(read_all(), expected) << "cut at " << size;
    ASSERT_TRUE(is_noticed()) << "cut at " << size;
  }
}

TEST_F(RunDamage, LostMetadataCostsNothing) {
  SeededRandom random(5);
  for (const Form& form : kForms) {
    write(form, 300, 30);
    struct Range {
      const char* what;
      size_t from, to;
    };
    const Range ranges[] = {
        {"head", 0, 64},
        {"head of a run", infos[1].offset, infos[1].offset + 32},
        {"a footer", infos[0].footer_offset, infos[0].footer_offset + infos[0].footer_bytes},
        {"last footer and index", infos[2].footer_offset, whole.size() - 64},
        {"index and tail", infos[2].footer_offset + infos[2].footer_bytes, whole.size()},
        {"tail", whole.size() - 20, whole.size()}};
    for (const Range& range : ranges) {
      for (const bool is_random : {false, true}) {
        for (size_t i = range.from; i < range.to; ++i) {
          run->bytes()[i] = is_random ? static_cast<char>(random.next()) : '\0';
        }
        EXPECT_EQ(read_all().size(), 0U) << form.name << " " << range.what;
        EXPECT_TRUE(is_noticed()) << form.name << " " << range.what;
        EXPECT_EQ(streams_found(), all_streams) << form.name << " " << range.what;
        run->bytes() = whole;
      }
    }
  }
}

TEST_F(RunDamage, NoiseOverMessagesCostsThoseMessages) {
  write(kForms[0], 300, 100);
  SeededRandom random(9);
  for (int round = 0; round < 30; ++round) {
    const size_t from = infos[0].offset + random.below(whole.size() - infos[0].offset - 600);
    for (size_t i = from; i < from + 512; ++i)
      run->bytes()[i] = static_cast<char>(random.next());
    EXPECT_LE(read_all().size(), 6U) << from;
    EXPECT_TRUE(is_noticed()) << from;
    // The same without the index and the footers behind.
    run->bytes().resize(infos[2].footer_offset);
    EXPECT_LE(read_all().size(), 6U) << from;
    run->bytes() = whole;
  }
}

TEST_F(RunDamage, SwappedMessagesOfTwoStreamsAreNoticed) {
  write(kForms[0], 50, 30);
  // The same sequence, subject and size, of two streams: only the index tells them apart.
  const size_t size = RunFixture::encode(messages[0][4]).size();
  const size_t first = whole.find(RunFixture::encode(messages[0][4]));
  const size_t second = whole.find(RunFixture::encode(messages[1][4]));
  std::memcpy(&run->bytes()[first], &whole[second], size);
  std::memcpy(&run->bytes()[second], &whole[first], size);
  const std::set<std::pair<uint32_t, uint64_t>> expected{{1, 104}, {2, 104}};
  EXPECT_EQ(read_all(), expected);
  EXPECT_TRUE(is_noticed());
}

TEST_F(RunDamage, SwappedBlocksCostThoseBlocks) {
  for (const size_t form : {2, 3}) {
    write(kForms[form], 2000, 100);
    const auto file = run->open();
    bool damaged = false;
    const auto one = std::move(*file->load_index(infos[0], damaged));
    const auto two = std::move(*file->load_index(infos[1], damaged));
    const RunIndex::Block a = one->blocks[1];
    const RunIndex::Block b = two->blocks[1];
    const size_t size = std::min(a.bytes, b.bytes);
    std::memcpy(&run->bytes()[a.offset], &whole[b.offset], size);
    std::memcpy(&run->bytes()[b.offset], &whole[a.offset], size);
    size_t hit = 0;
    for (const auto* index : {one.get(), two.get()}) {
      for (const uint64_t position : index->positions)
        hit += position >> 32 == 1 ? 1 : 0;
    }
    EXPECT_EQ(read_all().size(), hit);
    EXPECT_TRUE(is_noticed());
  }
}

TEST_F(RunDamage, DuplicatedAndMovedPiecesAreFoundAgainOnce) {
  write(kForms[0], 60, 30);
  // The second half of the first run's messages stands where the first half was, too.
  const auto file = run->open();
  const size_t from = whole.find(RunFixture::encode(messages[0][0]));
  const size_t middle = whole.find(RunFixture::encode(messages[0][30]));
  const size_t size = std::min<size_t>(middle - from, infos[0].footer_offset - middle);
  std::memcpy(&run->bytes()[from], &whole[middle], size);
  run->bytes().resize(infos[0].footer_offset);
  bool damaged = false;
  const auto cut = run->open();
  const auto index = cut->load_index(infos[0], damaged);
  ASSERT_TRUE(index);
  EXPECT_TRUE(damaged);
  EXPECT_GE((*index)->info.count, 29U);
  EXPECT_LE((*index)->info.count, 31U);
  EXPECT_EQ((*index)->info.last_seq, infos[0].last_seq);
}

TEST_F(RunDamage, AnErasedMessageIsGoneAndNoDamage) {
  write(kForms[0], 50, 30);
  const auto file = run->open();
  bool damaged = false;
  const auto index = std::move(*file->load_index(infos[1], damaged));
  ASSERT_TRUE(file->erase(*index, 3));
  EXPECT_EQ(run->bytes().find(messages[1][3].body), std::string::npos);
  EXPECT_EQ(run->bytes().size(), whole.size());
  const std::set<std::pair<uint32_t, uint64_t>> expected{{2, 103}};
  EXPECT_EQ(read_all(), expected);
  const auto report = verify_run_file(run->files, "d", 7, nullptr);
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->findings.empty());
  EXPECT_EQ(report->erased, 1U);
  write(kForms[1], 50, 30);
  const auto packed = run->open();
  const auto blocks = std::move(*packed->load_index(infos[1], damaged));
  const Status status = packed->erase(*blocks, 3);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::Unsupported);
}

TEST_F(RunDamage, AFooterInAMessageIsNotBelieved) {
  // A message whose body is a whole run file, and whose own header is damaged.
  write(kForms[0], 20, 30);
  auto outer = some_messages(3, 20, 100);
  const std::string inner = whole;
  outer[1].body = inner;
  RunFixture other;
  const RunInfo info = other.write_file(outer);
  const std::string record = RunFixture::encode(outer[1]);
  other.bytes()[other.bytes().find(record) + 20] ^= 1;
  other.bytes().resize(info.footer_offset);
  const auto runs = other.open()->list_runs();
  ASSERT_TRUE(runs);
  ASSERT_EQ(runs->size(), 1U);
  EXPECT_EQ((*runs)[0].first.name, "S3");
}

}  // namespace
}  // namespace brokkr::store
