#include "workload/image_reference.h"

#include <gtest/gtest.h>

#include "workload/image_bucket.h"
#include "workload/registry.h"

namespace brokkr::workload {
namespace {

const std::string kDigest = "sha256:" + std::string(64, 'a');

TEST(ImageReference, RegistriesWithDockersShortForms) {
  const auto text = [](std::string_view reference) {
    auto parsed = parse_registry_reference(reference);
    return parsed ? parsed->text() : parsed.error().text;
  };
  EXPECT_EQ(text("busybox"), "docker.io/library/busybox:latest");
  EXPECT_EQ(text("busybox:1.36"), "docker.io/library/busybox:1.36");
  EXPECT_EQ(text("index.docker.io/a/b"), "docker.io/a/b:latest");
  EXPECT_EQ(text("ghcr.io/o/p/q:v1"), "ghcr.io/o/p/q:v1");
  EXPECT_EQ(text("localhost:5000/x"), "localhost:5000/x:latest");
  EXPECT_EQ(text("localhost/x"), "localhost/x:latest");
  EXPECT_EQ(text("[::1]:5000/x:t"), "[::1]:5000/x:t");
  EXPECT_EQ(text("x.io/r:t@" + kDigest), "x.io/r@" + kDigest);
  for (const char* bad : {"", ":", "a:", "/x", "x.io/", "x.io/A", "x.io/a//b", "x.io/../b", "x.io/a:b:c", "x.io/a@sha256:12",
                          "x.io/a?b", "u@x.io/a", "x.io/a b", "x.io/a#b", "x.io/a%2f", "x y/a.b/c"}) {
    EXPECT_FALSE(parse_registry_reference(bad)) << bad;
  }
}

TEST(ImageReference, UrisOfEveryKind) {
  auto folder = parse_image_uri("oci:/srv/image:v1");
  ASSERT_TRUE(folder);
  EXPECT_EQ(folder->kind, ImageUri::Kind::Folder);
  EXPECT_EQ(folder->path, "/srv/image");
  EXPECT_EQ(folder->reference, "v1");
  auto colon = parse_image_uri("oci:/srv/a:b/image");
  ASSERT_TRUE(colon);
  EXPECT_EQ(colon->path, "/srv/a:b/image");
  auto saved = parse_image_uri("docker-archive:/x.tar:demo:v1");
  ASSERT_TRUE(saved);
  EXPECT_EQ(saved->path, "/x.tar");
  EXPECT_EQ(saved->reference, "demo:v1");
  auto stored = parse_image_uri("image:team/demo");
  ASSERT_TRUE(stored);
  EXPECT_EQ(stored->name + ":" + stored->reference, "team/demo:latest");
  auto remote = parse_image_uri("docker://quay.io/a/b@" + kDigest);
  ASSERT_TRUE(remote);
  EXPECT_EQ(remote->registry.digest, kDigest);
  for (const char* bad : {"", "oci:", "image:", "image:a:", "image:../a", "image:sha256:abc", "http://x", "docker:x", "file:///x", "oci::v1"}) {
    EXPECT_FALSE(parse_image_uri(bad)) << bad;
  }
}

TEST(ImageReference, ChallengesAndCredentials) {
  const AuthChallenge bearer = parse_challenge(R"(Bearer realm="https://a/token",service="r,\"q",scope="repository:a/b:pull,push")");
  EXPECT_EQ(bearer.scheme, "bearer");
  EXPECT_EQ(bearer.realm, "https://a/token");
  EXPECT_EQ(bearer.service, "r,\"q");
  EXPECT_EQ(bearer.scope, "repository:a/b:pull,push");
  EXPECT_EQ(parse_challenge("Basic").scheme, "basic");
  EXPECT_EQ(parse_challenge("BASIC realm=x, y").realm, "x");
  EXPECT_EQ(parse_challenge("Bearer realm=\"cut").realm, "cut");
  const std::string config = R"({"auths":{"x.io":{"auth":"dTpw"},"https://index.docker.io/v1/":{"username":"hub","password":"s"}}})";
  EXPECT_EQ(find_credentials(config, "x.io"), "u:p");
  EXPECT_EQ(find_credentials(config, "docker.io"), "hub:s");
  EXPECT_EQ(find_credentials(config, "evil.io"), "");
  EXPECT_EQ(find_credentials("no json", "x.io"), "");
}

TEST(ImageReference, TagsOfTheObjectStore) {
  ImageTag tag{kDigest, "amd64", "here", {{kDigest, 12}}};
  auto again = decode_image_tag(encode(tag));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->blobs[0].size, 12U);
  EXPECT_TRUE(is_image_object("demo:latest"));
  EXPECT_FALSE(is_image_object(kDigest));
  for (const char* bad : {"", "{}", "[]", R"({"manifest":"x","blobs":[]})"}) EXPECT_FALSE(decode_image_tag(bad)) << bad;
}

}  // namespace
}  // namespace brokkr::workload
