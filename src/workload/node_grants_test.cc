#include "workload/node_grants.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace brokkr::workload {
namespace {

class NodeGrants : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/brokkr-grants-XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    folder_ = pattern;
    std::filesystem::create_directories(folder_ + "/open/acme");
    std::filesystem::create_directories(folder_ + "/openness");
    for (const char* name : {"/secret", "/open/file", "/open/acme/file", "/openness/file"}) {
      std::ofstream(folder_ + name) << name;
    }
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Errc failure(const std::string& path, const Words& of_node, const Words& of_namespace) {
    const auto opened = open_node_file(folder_ + path, {of_node, of_namespace});
    return opened ? Errc::Closed : opened.error().code;
  }
  bool opens(const std::string& path, const Words& of_node, const Words& of_namespace) {
    return bool(open_node_file(folder_ + path, {of_node, of_namespace}));
  }

  std::string folder_;
};

TEST_F(NodeGrants, FilesNeedTheNodeAndTheNamespace) {
  const std::string open = folder_ + "/open";
  EXPECT_TRUE(opens("/open/file", {"/"}, {"/"}));
  EXPECT_TRUE(opens("/open/file", {open}, {"/"}));
  EXPECT_TRUE(opens("/open/file", {open + "/"}, {open}));
  EXPECT_TRUE(opens("/open", {open}, {open}));
  EXPECT_TRUE(opens("/open/acme/file", {"/nowhere", open}, {open + "/acme"}));
  EXPECT_EQ(failure("/open/file", {}, {"/"}), Errc::PermissionDenied);
  EXPECT_EQ(failure("/open/file", {"/"}, {}), Errc::PermissionDenied);
  EXPECT_EQ(failure("/open/file", {open}, {open + "/acme"}), Errc::PermissionDenied);
  EXPECT_EQ(failure("/secret", {open}, {"/"}), Errc::PermissionDenied);
  // The beginning of a name is no folder.
  EXPECT_EQ(failure("/openness/file", {open}, {"/"}), Errc::PermissionDenied);
  EXPECT_EQ(failure("/open/none", {open}, {"/"}), Errc::NotFound);
}

TEST_F(NodeGrants, NothingLeadsOut) {
  const Words open = {folder_ + "/open"};
  EXPECT_EQ(failure("/open/../secret", open, {"/"}), Errc::InvalidArgument);
  EXPECT_EQ(failure("/open/acme/../../secret", open, {"/"}), Errc::InvalidArgument);
  ASSERT_EQ(symlink("../secret", (folder_ + "/open/near").c_str()), 0);
  ASSERT_EQ(symlink((folder_ + "/secret").c_str(), (folder_ + "/open/far").c_str()), 0);
  ASSERT_EQ(symlink("..", (folder_ + "/open/up").c_str()), 0);
  ASSERT_EQ(symlink("/proc/self", (folder_ + "/open/self").c_str()), 0);
  for (const char* path : {"/open/near", "/open/far", "/open/up/secret", "/open/self/environ"}) {
    EXPECT_EQ(failure(path, open, {"/"}), Errc::PermissionDenied) << path;
  }
  // A link that stays inside is fine, and a folder may be known by a link.
  ASSERT_EQ(symlink("acme/file", (folder_ + "/open/inside").c_str()), 0);
  ASSERT_EQ(symlink("open", (folder_ + "/alias").c_str()), 0);
  EXPECT_TRUE(opens("/open/inside", open, {"/"}));
  EXPECT_TRUE(opens("/alias/file", {folder_ + "/alias"}, {"/"}));
  EXPECT_EQ(failure("/open/inside", open, {folder_ + "/alias/acme"}), Errc::PermissionDenied);
  ASSERT_EQ(mkfifo((folder_ + "/open/pipe").c_str(), 0644), 0);
  EXPECT_EQ(failure("/open/pipe", open, {"/"}), Errc::PermissionDenied);
}

TEST_F(NodeGrants, WhatIsOpenStaysTheSame) {
  const std::string path = folder_ + "/open/file";
  auto file = open_node_file(path, {{folder_ + "/open"}, {"/"}});
  ASSERT_TRUE(file);
  ASSERT_EQ(unlink(path.c_str()), 0);
  ASSERT_EQ(symlink((folder_ + "/secret").c_str(), path.c_str()), 0);
  std::ifstream in(file->again());
  std::string text;
  in >> text;
  EXPECT_EQ(text, "/open/file");
}

TEST_F(NodeGrants, OnlyDefaultHasFilesWithoutARecord) {
  NamespaceRecord acme;
  acme.ns = "acme";
  EXPECT_EQ(node_folders_of("default", {"/srv"}, {}).of_namespace, Words{"/"});
  EXPECT_TRUE(node_folders_of("acme", {"/srv"}, {}).of_namespace.empty());
  EXPECT_TRUE(node_folders_of("acme", {"/srv"}, {acme}).of_namespace.empty());
  acme.node_files = {"/srv/acme"};
  EXPECT_EQ(node_folders_of("acme", {"/srv"}, {acme}).of_namespace, Words{"/srv/acme"});
  EXPECT_TRUE(node_folders_of("beta", {"/srv"}, {acme}).of_namespace.empty());
  NamespaceRecord narrow;
  narrow.ns = "default";
  narrow.node_files = {"/srv/public"};
  EXPECT_EQ(node_folders_of("default", {"/"}, {acme, narrow}).of_namespace, Words{"/srv/public"});
}

TEST_F(NodeGrants, SeesWhatAUriNamesOfTheNode) {
  EXPECT_EQ(node_path_of("file:///etc/shadow"), "/etc/shadow");
  EXPECT_EQ(node_path_of("oci:/srv/image:v1"), "/srv/image");
  EXPECT_EQ(node_path_of("oci-archive:x.tar"), "x.tar");
  EXPECT_EQ(node_path_of("docker-archive:/srv/a.tar:name:tag"), "/srv/a.tar");
  for (const char* text : {"nats://B/x", "sha256://00", "image:x", "docker://busybox", ""}) {
    EXPECT_FALSE(node_path_of(text)) << text;
  }
}

TEST_F(NodeGrants, LowPortsAreGranted) {
  const auto may = [](uint16_t port, const char* ns, const Words& granted) {
    NamespaceRecord acme;
    acme.ns = "acme";
    acme.ports = granted;
    return bool(check_published_ports({{"0.0.0.0", port, 80}}, ns, {acme}));
  };
  EXPECT_TRUE(may(80, "default", {}));
  EXPECT_FALSE(may(80, "acme", {}));
  EXPECT_FALSE(may(1023, "beta", {}));
  EXPECT_TRUE(may(1024, "acme", {}));
  EXPECT_TRUE(may(0, "acme", {"80"}));
  EXPECT_TRUE(may(80, "acme", {"443", "80"}));
  EXPECT_FALSE(may(8080, "acme", {"80"}));
  EXPECT_TRUE(may(8080, "acme", {"8000-8080"}));
  EXPECT_FALSE(may(8081, "acme", {"8000-8080"}));
  EXPECT_TRUE(may(443, "acme", {"*"}));
  for (const char* text : {"80", "1-65535", "*"}) EXPECT_TRUE(is_port_range(text)) << text;
  for (const char* text : {"", "0", "65536", "a", "80-", "-80", "90-80", "80 "}) {
    EXPECT_FALSE(is_port_range(text)) << text;
  }
}

TEST_F(NodeGrants, TheNodesCredentialsAreGranted) {
  NamespaceRecord acme;
  acme.ns = "acme";
  EXPECT_TRUE(may_use_registry_of_node("ghcr.io", "default", {acme}));
  EXPECT_FALSE(may_use_registry_of_node("ghcr.io", "acme", {acme}));
  EXPECT_FALSE(may_use_registry_of_node("ghcr.io", "beta", {acme}));
  acme.registries = {"registry.lan:5000"};
  EXPECT_TRUE(may_use_registry_of_node("registry.lan:5000", "acme", {acme}));
  EXPECT_FALSE(may_use_registry_of_node("registry.lan", "acme", {acme}));
  acme.registries = {"*"};
  EXPECT_TRUE(may_use_registry_of_node("ghcr.io", "acme", {acme}));
}

TEST_F(NodeGrants, UploadsOfOthersAreNobodys) {
  NamespaceRecord acme;
  acme.ns = "acme";
  EXPECT_TRUE(may_read_uploads("acme", {}));
  EXPECT_TRUE(may_read_uploads("default", {acme}));
  EXPECT_FALSE(may_read_uploads("acme", {acme}));
  EXPECT_FALSE(may_read_uploads("beta", {acme}));
  acme.object_buckets = {"NEXCLIFILES"};
  EXPECT_TRUE(may_read_uploads("acme", {acme}));
}

}  // namespace
}  // namespace brokkr::workload
