#include "store/wal_format.h"
#include "store/wal_test_fixture.h"

namespace brokkr::store {
namespace {

class EncryptedWal : public ::testing::TestWithParam<Cipher> {
 protected:
  std::unique_ptr<Keyring> keyring(std::string_view key, std::string_view previous = "") {
    return std::move(*Keyring::make(GetParam(), key, previous));
  }
};

TEST_P(EncryptedWal, ComesBackWithItsKeyOnly) {
  const auto keys = keyring("secret");
  const auto wrong = keyring("other");
  const auto rotated = keyring("next", "secret");
  WalBed bed;
  bed.options.keys = keys.get();
  ASSERT_TRUE(bed.open());
  bed.group_note = "a note in the clear";
  bed.publish_each(1, 300, 300);
  bed.kill();
  EXPECT_GT(bed.log_files().size(), 1u);
  for (const std::string& path : bed.log_files()) {
    const std::string bytes = bed.files->get(path);
    EXPECT_EQ(bytes.find("message"), std::string::npos);
    EXPECT_EQ(bytes.find("orders.new"), std::string::npos);
    EXPECT_EQ(bytes.find("a note"), std::string::npos);
  }
  for (Keyring* const none : {static_cast<Keyring*>(nullptr), wrong.get()}) {
    bed.options.keys = none;
    const Status opened = bed.open();
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Errc::PermissionDenied);
  }
  for (Keyring* const right : {keys.get(), rotated.get()}) {
    bed.options.keys = right;
    ASSERT_TRUE(bed.open());
    EXPECT_EQ(bed.seqs(), WalBed::range(1, 300));
    EXPECT_EQ(bed.seen[7].body, WalBed::body_of(8, 300));
    EXPECT_EQ(bed.notes.size(), 300u);
    EXPECT_EQ(bed.notes[0], "a note in the clear");
    EXPECT_TRUE(bed.recovery.notes.empty());
    bed.kill();
  }
}

TEST_P(EncryptedWal, AFlippedBitCostsItsFrameOnly) {
  const auto keys = keyring("secret");
  WalBed bed;
  bed.options.file_bytes = 16 << 10;
  bed.options.keys = keys.get();
  ASSERT_TRUE(bed.open());
  bed.publish_each(1, 20, 100);
  bed.kill();
  const std::string path = bed.log_files()[0];
  const std::string bytes = bed.files->get(path);
  const size_t used = bytes.find_last_not_of('\0') + 1;
  for (uint64_t bit = kWalHeadBytes * 8; bit < used * 8; bit += 97) {
    bed.files->put(path, bytes);
    bed.files->flip_bit(path, bit);
    ASSERT_TRUE(bed.open()) << "bit " << bit;
    ASSERT_TRUE(bed.recovery.damaged > 0 || bed.recovery.torn_tail || !bed.recovery.notes.empty());
    ASSERT_GE(bed.seen.size(), 19u) << "bit " << bit;
    for (const auto& it : bed.seen) ASSERT_EQ(it.body, WalBed::body_of(it.seq, 100));
  }
}

TEST_P(EncryptedWal, EncryptionCanBeTurnedOnAndOff) {
  const auto keys = keyring("secret");
  WalBed bed;
  for (uint64_t round = 0; round < 6; ++round) {
    ASSERT_TRUE(bed.open(1)) << round;
    bed.options.keys = keys.get();
    bed.publish_each(round * 10 + 1, round * 10 + 10);
    bed.kill();
  }
  ASSERT_TRUE(bed.open());
  EXPECT_EQ(bed.seqs(), WalBed::range(1, 60));
}

INSTANTIATE_TEST_SUITE_P(EveryCipher, EncryptedWal,
                         ::testing::Values(Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305));

}  // namespace
}  // namespace brokkr::store
