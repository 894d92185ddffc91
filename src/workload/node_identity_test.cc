#include "workload/node_identity.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <string>

namespace brokkr::workload {
namespace {

std::string make_identity_folder() {
  char path[] = "/tmp/node_identity_XXXXXX";
  return std::string(mkdtemp(path)) + "/node";
}

TEST(NodeIdentity, IsTheSameAfterARestart) {
  const std::string folder = make_identity_folder();
  std::string id;
  std::string xkey;
  {
    const auto first = NodeIdentity::load(folder);
    ASSERT_TRUE(first);
    EXPECT_TRUE(first->is_kept());
    id = first->key().public_key();
    xkey = first->xkey().public_key();
  }
  const auto again = NodeIdentity::load(folder);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->key().public_key(), id);
  EXPECT_EQ(again->xkey().public_key(), xkey);
  for (const char* name : {"/node.nk", "/node.xk"}) {
    struct stat facts {};
    ASSERT_EQ(stat((folder + name).c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777, 0600U);
  }
  std::filesystem::remove_all(folder);
}

TEST(NodeIdentity, IsOneNodesAtATime) {
  const std::string folder = make_identity_folder();
  const auto first = NodeIdentity::load(folder);
  ASSERT_TRUE(first);
  const auto second = NodeIdentity::load(folder);
  ASSERT_TRUE(second);
  EXPECT_FALSE(second->is_kept());
  EXPECT_NE(second->key().public_key(), first->key().public_key());
  std::filesystem::remove_all(folder);
}

TEST(NodeIdentity, RefusesAFileWithoutASeed) {
  const std::string folder = make_identity_folder();
  { ASSERT_TRUE(NodeIdentity::load(folder)); }
  FILE* file = fopen((folder + "/node.nk").c_str(), "we");
  ASSERT_NE(file, nullptr);
  fputs("no seed\n", file);
  fclose(file);
  const auto identity = NodeIdentity::load(folder);
  ASSERT_FALSE(identity);
  EXPECT_NE(identity.error().text.find("node.nk"), std::string::npos);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace brokkr::workload
