#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/sha256.h"
#include "sandbox/image.h"
#include "sandbox/image_files.h"
#include "sandbox/image_manifest.h"

namespace brokkr::sandbox {
namespace {

namespace fs = std::filesystem;

// A tar of ustar headers, written by hand so that it can hold what no tool writes.
class Tar {
 public:
  Tar& file(const std::string& name, const std::string& content, unsigned mode = 0644) {
    header(name, '0', content.size(), mode, "");
    body(content);
    return *this;
  }
  Tar& folder(const std::string& name, unsigned mode = 0755) { return header(name, '5', 0, mode, ""); }
  Tar& link(const std::string& name, const std::string& target) { return header(name, '2', 0, 0777, target); }
  Tar& hard(const std::string& name, const std::string& target) { return header(name, '1', 0, 0644, target); }
  Tar& device(const std::string& name, char type) { return header(name, type, 0, 0666, ""); }
  // A pax header for the next entry: "size=…" and the like.
  Tar& pax(const std::string& key, const std::string& value) {
    std::string record = " " + key + "=" + value + "\n";
    size_t length = record.size() + 1;
    while (std::to_string(length).size() + record.size() != length) length++;
    record = std::to_string(length) + record;
    header("pax", 'x', record.size(), 0644, "");
    body(record);
    return *this;
  }
  Tar& header(const std::string& name, char type, uint64_t size, unsigned mode, const std::string& target) {
    std::string block(512, '\0');
    const auto put = [&](size_t at, const std::string& text, size_t room) { block.replace(at, std::min(room, text.size()), text, 0, std::min(room, text.size())); };
    const auto octal = [&](size_t at, uint64_t value, int digits) {
      char text[32];
      std::snprintf(text, sizeof text, "%0*llo", digits, static_cast<unsigned long long>(value));
      put(at, text, static_cast<size_t>(digits));
    };
    put(0, name, 100);
    octal(100, mode, 7);
    octal(108, 0, 7);
    octal(116, 0, 7);
    octal(124, size, 11);
    octal(136, 1700000000, 11);
    block[156] = type;
    put(157, target, 100);
    put(257, std::string("ustar\0" "00", 8), 8);
    std::fill_n(block.begin() + 148, 8, ' ');
    unsigned sum = 0;
    for (const char c : block) sum += static_cast<unsigned char>(c);
    octal(148, sum, 6);
    block[154] = '\0';
    bytes_ += block;
    return *this;
  }
  std::string done() const { return bytes_ + std::string(1024, '\0'); }
  std::string cut() const { return bytes_; }

 private:
  void body(const std::string& content) {
    bytes_ += content;
    bytes_.append((512 - content.size() % 512) % 512, '\0');
  }
  std::string bytes_;
};

std::string packed(const std::string& bytes, bool is_zstd = false) {
  archive* a = archive_write_new();
  if (is_zstd) {
    archive_write_add_filter_zstd(a);
  } else {
    archive_write_add_filter_gzip(a);
  }
  archive_write_set_format_raw(a);
  std::string out(bytes.size() + 4096, '\0');
  size_t used = 0;
  archive_write_open_memory(a, out.data(), out.size(), &used);
  archive_entry* e = archive_entry_new();
  archive_entry_set_pathname(e, "x");
  archive_entry_set_filetype(e, AE_IFREG);
  archive_write_header(a, e);
  archive_write_data(a, bytes.data(), bytes.size());
  archive_entry_free(e);
  archive_write_close(a);
  archive_write_free(a);
  out.resize(used);
  return out;
}

struct TestLayer {
  std::string tar;      // unpacked
  std::string packing;  // "", "gzip", "zstd"
  std::string diff_id{};  // instead of the right one
  std::string blob{};     // instead of what `tar` makes
};

// Where tests work; gone at the end.
class ImageTest : public testing::Test {
 protected:
  void SetUp() override {
    // In memory where there is such a place: what is written is made durable often.
    folder_ = (fs::exists("/dev/shm") ? "/dev/shm" : "/tmp") + std::string("/brokkr-image-XXXXXX");
    ASSERT_NE(mkdtemp(folder_.data()), nullptr);
    std::ofstream(folder_ + "/outside") << "untouched";
  }
  void TearDown() override {
    const fs::path path = folder_;
    const image::OwnedFd parent(open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY));
    EXPECT_TRUE(image::remove_tree(parent.get(), path.filename()));
  }
  ImageStore store(UnpackLimits limits = {}) {
    auto opened = ImageStore::open(folder_ + "/store", limits);
    EXPECT_TRUE(opened);
    return *opened;
  }
  static std::string media_type(const std::string& packing) {
    return "application/vnd.oci.image.layer.v1.tar" + (packing.empty() ? "" : "+" + packing);
  }
  static image::Descriptor descriptor(const std::string& type, const std::string& bytes) {
    image::Descriptor out;
    out.media_type = type;
    out.digest = image::digest_of(bytes);
    out.size = bytes.size();
    return out;
  }
  static std::string config_json(const std::vector<TestLayer>& layers, const std::string& architecture,
                                 const std::string& run = R"({"Env":["A=b"],"Cmd":["/bin/x"]})") {
    std::string ids;
    for (const TestLayer& layer : layers) {
      const std::string id = layer.diff_id.empty() ? image::digest_of(layer.tar) : layer.diff_id;
      ids += (ids.empty() ? "\"" : ",\"") + id + "\"";
    }
    return R"({"architecture":")" + architecture + R"(","os":"linux","config":)" + run +
           R"(,"rootfs":{"type":"layers","diff_ids":[)" + ids + "]}}";
  }
  void write(const std::string& path, const std::string& bytes) {
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
  }
  // Writes blob files below `folder` and returns the manifest.
  image::Descriptor add_image(const std::string& folder, const std::vector<TestLayer>& layers,
                              const std::string& architecture = image::machine_architecture()) {
    std::vector<image::Descriptor> blobs;
    for (const TestLayer& layer : layers) {
      const std::string bytes = !layer.blob.empty() ? layer.blob : layer.packing.empty() ? layer.tar : packed(layer.tar, layer.packing == "zstd");
      blobs.push_back(descriptor(media_type(layer.packing), bytes));
      write(folder + "/blobs/sha256/" + image::hex_of(blobs.back().digest), bytes);
    }
    const std::string config = config_json(layers, architecture);
    write(folder + "/blobs/sha256/" + image::hex_of(image::digest_of(config)), config);
    const std::string manifest = image::make_manifest(descriptor("application/vnd.oci.image.config.v1+json", config), blobs);
    write(folder + "/blobs/sha256/" + image::hex_of(image::digest_of(manifest)), manifest);
    return descriptor("application/vnd.oci.image.manifest.v1+json", manifest);
  }
  static std::string entry(const image::Descriptor& one, const std::string& more) {
    return R"({"mediaType":")" + one.media_type + R"(","digest":")" + one.digest + R"(","size":)" + std::to_string(one.size) + more + "}";
  }
  // An OCI layout folder with one image.
  std::string layout(const std::vector<TestLayer>& layers) {
    const std::string at = folder_ + "/layout" + std::to_string(count_++);
    write(at + "/oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
    const image::Descriptor one = add_image(at, layers);
    write(at + "/index.json", R"({"schemaVersion":2,"manifests":[)" + entry(one, "") + "]}");
    return at;
  }
  Result<UnpackedImage> run(const std::vector<TestLayer>& layers, UnpackLimits limits = {}) {
    ImageStore images = store(limits);
    auto digest = images.import(layout(layers), "");
    if (!digest) return digest.error();
    return images.unpack(*digest);
  }
  std::string read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string folder_;
  int count_ = 0;
};

TEST_F(ImageTest, LayersBecomeOverlayFolders) {
  const std::string base = Tar().folder("etc").file("etc/a", "one").file("etc/b", "two").folder("tmp", 01777).link("bin", "usr/bin").folder("usr").folder("usr/bin").file("usr/bin/su", "s", 04755).done();
  const std::string top = Tar().folder("etc").file("etc/.wh.a", "").file("etc/c", "three").file("bin/x", "x").file("tmp/t", "t").hard("etc/d", "etc/c").done();
  auto made = run({{base, "gzip"}, {top, "zstd"}});
  ASSERT_TRUE(made) << made.error().text;
  EXPECT_EQ(made->config.environment, std::vector<std::string>{"A=b"});
  if (geteuid() != 0) return;
  ASSERT_EQ(made->lower.size(), 2U);
  struct stat about {};
  ASSERT_EQ(lstat((made->lower[0] + "/etc/a").c_str(), &about), 0);
  EXPECT_TRUE(S_ISCHR(about.st_mode) && about.st_rdev == makedev(0, 0));
  EXPECT_EQ(read(made->lower[1] + "/etc/a"), "one");
  EXPECT_EQ(read(made->lower[0] + "/etc/d"), "three");
  // The link is the layer's below, and so is the mode of the folder nobody named.
  EXPECT_EQ(read(made->lower[0] + "/usr/bin/x"), "x");
  ASSERT_EQ(stat((made->lower[0] + "/tmp").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 07777, 01777U);
  ASSERT_EQ(stat((made->lower[1] + "/usr/bin/su").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 07777, 0755U);
}

TEST_F(ImageTest, OpaqueFoldersHideWhatIsBelow) {
  const std::string base = Tar().folder("d").file("d/old", "o").folder("e").file("e/old", "o").done();
  const std::string top = Tar().folder("d").file("d/new", "n").file("d/.wh..wh..opq", "").file(".wh.e", "").folder("e").file("e/new", "n").done();
  auto merged = run({{base, ""}, {top, ""}}, {.is_merged = true});
  ASSERT_TRUE(merged) << merged.error().text;
  ASSERT_EQ(merged->lower.size(), 1U);
  for (const char* folder : {"/d", "/e"}) {
    EXPECT_FALSE(fs::exists(merged->lower[0] + folder + "/old"));
    EXPECT_TRUE(fs::exists(merged->lower[0] + folder + "/new"));
  }
  if (geteuid() != 0) return;
  auto made = run({{base, ""}, {top, ""}});
  ASSERT_TRUE(made) << made.error().text;
  for (const char* folder : {"/d", "/e"}) {
    char value[2] = {};
    EXPECT_EQ(getxattr((made->lower[0] + folder).c_str(), "trusted.overlay.opaque", value, sizeof value), 1) << folder;
    EXPECT_EQ(value[0], 'y');
  }
}

TEST_F(ImageTest, LayersAreSharedAndUnusedOnesGo) {
  const std::string base = Tar().file("base", "b").done();
  ImageStore images = store();
  auto one = images.import(layout({{base, "gzip"}, {Tar().file("one", "1").done(), ""}}), "");
  auto two = images.import(layout({{base, "gzip"}, {Tar().file("two", "2").done(), ""}}), "");
  ASSERT_TRUE(one && two);
  auto first = images.unpack(*one);
  auto second = images.unpack(*two);
  ASSERT_TRUE(first && second);
  if (first->lower.size() == 2) {
    EXPECT_EQ(first->lower[1], second->lower[1]);
  }
  ASSERT_TRUE(images.use(*one) && images.use(*two));
  const WallTime now = SystemClock().wall_now();
  const auto sweep = [&](ImageStore::KeepRules rules) {
    auto aside = images.set_aside(rules);
    ASSERT_TRUE(aside) << aside.error().text;
    for (const std::string& name : *aside) EXPECT_TRUE(images.remove_aside(name));
  };
  // Used lately, and held: both stay.
  sweep({{}, std::chrono::hours(1), 0, now});
  sweep({{*one, *two}, {}, 1, now + std::chrono::hours(100)});
  EXPECT_TRUE(images.unpack(*one) && images.unpack(*two));
  EXPECT_TRUE(fs::exists(first->lower[0]) && images.has_blob(*one));
  sweep({{*two}, std::chrono::hours(1), 0, now + std::chrono::hours(2)});
  EXPECT_FALSE(fs::exists(first->lower[0]));
  EXPECT_FALSE(images.has_blob(*one));
  EXPECT_TRUE(fs::exists(second->lower[0]));
  EXPECT_TRUE(images.unpack(*two));
  EXPECT_TRUE(fs::is_empty(folder_ + "/store/tmp"));
}

TEST_F(ImageTest, TheOldestImagesGoWhenThereIsNoRoom) {
  ImageStore images = store();
  std::vector<std::string> digests;
  for (int i = 0; i < 3; ++i) {
    const std::string content(100'000, static_cast<char>('a' + i));
    auto digest = images.import(layout({{Tar().file("f", content).done(), ""}}), "");
    ASSERT_TRUE(digest && images.unpack(*digest) && images.use(*digest));
    digests.push_back(*digest);
    // The first is the oldest.
    const timespec times[2] = {{1'700'000'000 + i, 0}, {1'700'000'000 + i, 0}};
    const std::string record = folder_ + "/store/images/" + image::hex_of(*digest);
    ASSERT_EQ(utimensat(AT_FDCWD, record.c_str(), times, 0), 0);
  }
  // Each takes some 200 KB, half of it unpacked; two fit.
  const WallTime now{std::chrono::seconds(1'700'000'010)};
  ASSERT_TRUE(images.set_aside({{}, std::chrono::hours(1), 450'000, now}));
  EXPECT_FALSE(images.has_blob(digests[0]));
  EXPECT_TRUE(images.has_blob(digests[1]) && images.has_blob(digests[2]));
  ASSERT_TRUE(images.set_aside({{digests[1]}, std::chrono::hours(1), 250'000, now}));
  EXPECT_TRUE(images.has_blob(digests[1]));
  EXPECT_FALSE(images.has_blob(digests[2]));
}

TEST_F(ImageTest, AnArchiveIsReadAgainOnlyWhenItHasChanged) {
  const auto archive_of = [](const std::string& content) {
    const std::string layer = Tar().file("f", content).done();
    const std::string config = config_json({{layer, ""}}, image::machine_architecture());
    const std::string name = image::hex_of(image::digest_of(config)) + ".json";
    Tar saved;
    saved.file(name, config).file("layer.tar", layer);
    saved.file("manifest.json", R"([{"Config":")" + name + R"(","RepoTags":["demo:v1"],"Layers":["layer.tar"]}])");
    return saved.done();
  };
  ImageStore images = store();
  const std::string path = folder_ + "/saved.tar";
  std::ofstream(path) << archive_of("one");
  const fs::path records = folder_ + "/store/archives";
  Result<std::string> first = images.import(path, "");
  // It is noted as soon as a change would show in its times.
  for (const auto begun = SystemClock().now(); fs::is_empty(records) && SystemClock().now() - begun < std::chrono::seconds(10);) {
    first = images.import(path, "");
  }
  ASSERT_TRUE(first);
  ASSERT_FALSE(fs::is_empty(records));
  // Without a place to unpack to, only what is known can be imported.
  fs::remove_all(folder_ + "/store/tmp");
  auto again = images.import(path, "");
  ASSERT_TRUE(again) << again.error().text;
  EXPECT_EQ(*again, *first);
  std::ofstream(path) << archive_of("two");
  EXPECT_FALSE(images.import(path, ""));
  fs::create_directory(folder_ + "/store/tmp");
  auto changed = images.import(path, "");
  ASSERT_TRUE(changed);
  EXPECT_NE(*changed, *first);
}

TEST_F(ImageTest, ArchivesOfBothKinds) {
  const std::string layer = Tar().file("f", "content").done();
  const std::string config = config_json({{layer, ""}}, image::machine_architecture());
  const std::string name = image::hex_of(image::digest_of(config));
  Tar saved;
  saved.file(name + ".json", config).folder("l1").file("l1/layer.tar", layer).folder("l2").link("l2/layer.tar", "../l1/layer.tar");
  saved.file("manifest.json", R"([{"Config":")" + name + R"(.json","RepoTags":["demo:v1"],"Layers":["l1/layer.tar"]}])");
  write(folder_ + "/saved.tar", saved.done());
  write(folder_ + "/saved.tgz", packed(saved.done()));
  ImageStore images = store();
  auto plain = images.import(folder_ + "/saved.tar", "demo:v1");
  ASSERT_TRUE(plain) << plain.error().text;
  auto zipped = images.import(folder_ + "/saved.tgz", "");
  ASSERT_TRUE(zipped) << zipped.error().text;
  EXPECT_EQ(*plain, *zipped);
  auto made = images.unpack(*plain);
  ASSERT_TRUE(made) << made.error().text;
  EXPECT_EQ(read(made->lower[0] + "/f"), "content");
  auto other = images.import(folder_ + "/saved.tar", "demo:v2");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, Errc::NotFound);

  const std::string at = layout({{layer, ""}});
  Tar oci;
  for (const auto& file : fs::recursive_directory_iterator(at)) {
    if (file.is_regular_file()) oci.file("./" + fs::relative(file.path(), at).string(), read(file.path().string()));
  }
  write(folder_ + "/oci.tar", oci.done());
  auto from_oci = images.import(folder_ + "/oci.tar", "");
  ASSERT_TRUE(from_oci) << from_oci.error().text;
  EXPECT_TRUE(fs::is_empty(folder_ + "/store/tmp"));
}

TEST_F(ImageTest, ThePlatformIsThisMachines) {
  const std::string at = folder_ + "/many";
  const std::string mine = Tar().file("mine", "").done();
  const std::string theirs = Tar().file("theirs", "").done();
  const image::Descriptor other = add_image(at, {{theirs, ""}}, "s390x");
  const image::Descriptor own = add_image(at, {{mine, ""}});
  const std::string machine = image::machine_architecture();
  const std::string list = R"({"schemaVersion":2,"manifests":[)" +
                           entry(other, R"(,"platform":{"os":"linux","architecture":"s390x"})") + "," +
                           entry(own, R"(,"platform":{"os":"linux","architecture":")" + machine + "\"}") + "]}";
  const image::Descriptor index = descriptor("application/vnd.oci.image.index.v1+json", list);
  write(at + "/blobs/sha256/" + image::hex_of(index.digest), list);
  write(at + "/index.json", R"({"manifests":[)" + entry(index, R"(,"annotations":{"org.opencontainers.image.ref.name":"v1"})") + "," +
                                entry(other, R"(,"annotations":{"org.opencontainers.image.ref.name":"v0"})") + "]}");
  ImageStore images = store();
  auto made = images.import(at, "v1");
  ASSERT_TRUE(made) << made.error().text;
  EXPECT_EQ(*made, own.digest);
  auto foreign = images.import(at, "v0");
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code, Errc::Unsupported);
  auto either = images.import(at, "");
  ASSERT_FALSE(either);
  EXPECT_EQ(either.error().code, Errc::NotFound);
}

struct Hostile {
  const char* name;
  std::string tar;
  Errc code;
  UnpackLimits limits{};
};

TEST_F(ImageTest, HostileLayersAreRefusedAndTouchNothingOutside) {
  const std::string out = folder_ + "/outside";
  std::string deep;
  for (int i = 0; i < 600; ++i) deep += "d/";
  const std::string zeros(8 << 20, '\0');
  const std::vector<Hostile> table = {
      {"up", Tar().file("../outside", "bad").done(), Errc::Corrupt},
      {"up inside", Tar().folder("a").file("a/../../outside", "bad").done(), Errc::Corrupt},
      {"up at the end", Tar().folder("a/..").done(), Errc::Corrupt},
      {"absolute link written through", Tar().link("x", folder_).file("x/outside", "bad").done(), Errc::Corrupt},
      {"relative link written through", Tar().link("x", "../../..").file("x/outside", "bad").done(), Errc::Corrupt},
      {"link to the root", Tar().link("x", "/").file("x/etc/passwd", "bad").done(), Errc::Corrupt},
      {"link in two steps", Tar().folder("a").link("a/x", "../..").link("y", "a/x").file("y/outside", "bad").done(), Errc::Corrupt},
      {"folder through a link", Tar().link("x", folder_).folder("x/made").done(), Errc::Corrupt},
      {"link through a link", Tar().link("x", folder_).link("x/made", "/").done(), Errc::Corrupt},
      {"hard link out", Tar().hard("h", "../../outside").file("h", "bad").done(), Errc::Corrupt},
      {"absolute hard link", Tar().hard("h", out).done(), Errc::Corrupt},
      {"hard link through a link", Tar().link("x", folder_).hard("h", "x/outside").done(), Errc::Corrupt},
      {"hard link to a folder", Tar().folder("d").hard("h", "d").done(), Errc::Corrupt},
      {"hard link to nothing", Tar().hard("h", "missing").done(), Errc::Corrupt},
      {"whiteout through a link", Tar().link("x", folder_).file("x/.wh.outside", "").done(), Errc::Corrupt},
      {"whiteout of the parent", Tar().folder("a").file("a/.wh...", "").done(), Errc::Corrupt},
      {"whiteout of nothing", Tar().file(".wh.", "").done(), Errc::Corrupt},
      {"link loop", Tar().link("a", "b").link("b", "a").file("a/f", "").done(), Errc::Corrupt},
      {"a file as a folder", Tar().file("f", "").file("f/g", "").done(), Errc::Corrupt},
      {"nested too deep", Tar().pax("path", deep + "f").file("f", "").done(), Errc::Corrupt},
      {"a long name", Tar().pax("path", std::string(300, 'n')).file("f", "").done(), Errc::Corrupt},
      {"a long path", Tar().pax("path", std::string(9000, 'n')).file("f", "").done(), Errc::Corrupt},
      {"empty link", Tar().link("x", "").done(), Errc::Corrupt},
      {"the root is a file", Tar().file("./", "x").link(".", "/etc").done(), Errc::Corrupt},
      {"cut short", Tar().header("f", '0', 100000, 0644, "").cut(), Errc::Corrupt},
      {"no tar", std::string(5000, 'q'), Errc::Corrupt},
      {"nothing", std::string(" "), Errc::Corrupt},
      {"huge sparse", Tar().pax("GNU.sparse.major", "0").pax("GNU.sparse.realsize", "9000000000000000").file("f", "").done(), Errc::LimitExceeded},
      {"huge size", Tar().pax("size", "9000000000000000").file("f", "x").done(), Errc::LimitExceeded},
      {"bomb", Tar().file("f", zeros).done(), Errc::LimitExceeded, {.bytes_max = 1 << 20}},
      {"bomb after the end", Tar().file("f", "").done() + zeros, Errc::LimitExceeded, {.bytes_max = 1 << 10, .files_max = 8}},
      {"many files", Tar().file("a", "").file("b", "").file("c", "").file("d", "").done(), Errc::LimitExceeded, {.files_max = 3}},
  };
  for (const Hostile& one : table) {
    for (const char* packing : {"", "gzip"}) {
      auto made = run({{one.tar, packing}}, one.limits);
      ASSERT_FALSE(made) << one.name;
      EXPECT_EQ(made.error().code, one.code) << one.name << ": " << made.error().text;
      EXPECT_EQ(read(out), "untouched") << one.name;
      EXPECT_TRUE(fs::is_empty(folder_ + "/store/tmp")) << one.name;
      EXPECT_TRUE(fs::is_empty(folder_ + "/store/layers")) << one.name;
      EXPECT_TRUE(fs::is_empty(folder_ + "/store/merged")) << one.name;
      EXPECT_FALSE(fs::exists(folder_ + "/made")) << one.name;
    }
  }
}

// What looks bad and is not, or is only left out; all of it stays in its folder.
TEST_F(ImageTest, OddLayersStayInside) {
  const std::string tar = Tar().file("/etc/absolute", "a").device("null", '3').device("disk", '4').device("pipe", '6')
                              .link("away", "/etc/passwd").link("up", "../../../outside").file("line\nbreak", "n")
                              .pax("path", std::string("nul\0byte", 8)).file("f", "").file("away", "replaced")
                              .folder("d").file("d/f", "").file("d", "now a file").folder("ro", 0555).file("ro/f", "in")
                              .file("setuid", "", 07777).pax("path", "\xff\xfe\xc3\xa9").file("f", "bytes").done();
  for (const bool is_merged : {false, true}) {
    auto made = run({{tar, "gzip"}}, {.is_merged = is_merged});
    ASSERT_TRUE(made) << made.error().text;
    const std::string& root = made->lower[0];
    EXPECT_EQ(read(root + "/etc/absolute"), "a");
    for (const char* name : {"/null", "/disk", "/pipe"}) EXPECT_FALSE(fs::exists(root + name));
    EXPECT_EQ(read(root + "/away"), "replaced");
    EXPECT_EQ(read(root + "/d"), "now a file");
    EXPECT_EQ(read(root + "/ro/f"), "in");
    EXPECT_TRUE(fs::exists(root + "/line\nbreak"));
    EXPECT_EQ(read(root + "/\xff\xfe\xc3\xa9"), "bytes");
    struct stat about {};
    ASSERT_EQ(stat((root + "/setuid").c_str(), &about), 0);
    EXPECT_EQ(about.st_mode & 06000, 0U);
    EXPECT_EQ(read(folder_ + "/outside"), "untouched");
  }
}

TEST_F(ImageTest, EveryByteIsChecked) {
  const std::string tar = Tar().file("f", "x").done();
  auto wrong_diff = run({{tar, "gzip", image::digest_of("other")}});
  ASSERT_FALSE(wrong_diff);
  EXPECT_EQ(wrong_diff.error().code, Errc::Corrupt);
  const std::string zipped = packed(tar);
  auto cut = run({{tar, "gzip", "", zipped.substr(0, zipped.size() - 6)}});
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code, Errc::Corrupt);
  auto twice = run({{tar, "gzip", "", packed(zipped)}});
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().code, Errc::Corrupt);

  // One byte of each blob of a layout in turn.
  const std::string at = layout({{tar, "gzip"}});
  for (const auto& file : fs::directory_iterator(at + "/blobs/sha256")) {
    const std::string path = file.path().string();
    const std::string bytes = read(path);
    std::string changed = bytes;
    changed[changed.size() / 2] = static_cast<char>(changed[changed.size() / 2] ^ 1);
    for (const std::string& bad : {changed, bytes + "x", bytes.substr(1), std::string()}) {
      write(path, bad);
      fs::remove_all(folder_ + "/store");
      auto taken = store().import(at, "");
      ASSERT_FALSE(taken) << path;
      EXPECT_EQ(taken.error().code, Errc::Corrupt) << taken.error().text;
    }
    fs::remove(path);
    fs::remove_all(folder_ + "/store");
    auto missing = store().import(at, "");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Errc::NotFound);
    write(path, bytes);
  }
  fs::remove_all(folder_ + "/store");
  EXPECT_TRUE(store().import(at, ""));
}

TEST_F(ImageTest, LayoutsThatLeadOutAreRefused) {
  const std::string at = layout({{Tar().file("f", "").done(), ""}});
  fs::rename(at + "/blobs", folder_ + "/elsewhere");
  fs::create_symlink(folder_ + "/elsewhere", at + "/blobs");
  auto linked = store().import(at, "");
  ASSERT_FALSE(linked);
  EXPECT_EQ(linked.error().code, Errc::Corrupt);
  for (const char* text : {"", "[]", "{}", "null", R"({"manifests":[{"digest":"sha256:../../../../etc/passwd","size":1}]})",
                           R"({"manifests":[{"digest":"sha512:00","size":1}]})", R"({"manifests":[],"layers":[]})"}) {
    write(at + "/index.json", text);
    EXPECT_FALSE(store().import(at, "")) << text;
  }
  auto nothing = store().import(folder_ + "/missing", "");
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, Errc::NotFound);
}

TEST_F(ImageTest, LeftoversOfACrashGo) {
  { store(); }
  write(folder_ + "/store/tmp/999-1/deep/file", "x");
  {
    ImageStore first = store();
    EXPECT_TRUE(fs::is_empty(folder_ + "/store/tmp"));
    write(folder_ + "/store/tmp/busy", "x");
    ImageStore second = store();  // not alone: what is there may be the other's
    EXPECT_TRUE(fs::exists(folder_ + "/store/tmp/busy"));
  }
}

TEST_F(ImageTest, TreesOfAnyDepthAreRemoved) {
  image::OwnedFd at(open(folder_.c_str(), O_RDONLY | O_DIRECTORY));
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(mkdirat(at.get(), "d", 0700), 0);
    at.reset(openat(at.get(), "d", O_RDONLY | O_DIRECTORY));
  }
  const image::OwnedFd top(open(folder_.c_str(), O_RDONLY | O_DIRECTORY));
  EXPECT_TRUE(image::remove_tree(top.get(), "d"));
  EXPECT_FALSE(fs::exists(folder_ + "/d"));
}

}  // namespace
}  // namespace brokkr::sandbox
