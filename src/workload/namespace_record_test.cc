#include "workload/namespace_record.h"

#include <gtest/gtest.h>

#include "workload/control_desired.h"

namespace brokkr::workload {
namespace {

NamespaceRecord with(Words NamespaceRecord::*list, const std::string& word) {
  NamespaceRecord record;
  record.ns = "acme";
  (record.*list).push_back(word);
  return record;
}

TEST(NamespaceRecord, SaysNothingThatCannotBeHeld) {
  const struct {
    Words NamespaceRecord::*list;
    const char* good;
    const char* bad;
  } cases[] = {{&NamespaceRecord::subjects, "acme.>", "acme..x"},
               {&NamespaceRecord::imports, "shop.*", "shop. x"},
               {&NamespaceRecord::buckets, "ledger", "led.ger"},
               {&NamespaceRecord::object_buckets, "scans", "*"},
               {&NamespaceRecord::streams, "LOG", "LOG.x"},
               {&NamespaceRecord::node_files, "/srv/acme", "srv"},
               {&NamespaceRecord::node_files, "/", "/srv/../etc"},
               {&NamespaceRecord::ports, "80-90", "http"},
               {&NamespaceRecord::egress, "api.example.com:443", "api.example.com:0x1"}};
  for (const auto& one : cases) {
    EXPECT_TRUE(check_namespace_record(with(one.list, one.good))) << one.good;
    EXPECT_FALSE(check_namespace_record(with(one.list, one.bad))) << one.bad;
  }
}

TEST(NamespaceRecord, RequestsSayOfWhichRevisionTheyAre) {
  NamespacesRequest request;
  request.action = NamespacesRequest::Action::Set;
  request.record = with(&NamespaceRecord::node_files, "/srv");
  request.record.ports = {"80"};
  request.record.registries = {"ghcr.io"};
  auto again = decode_namespaces_request(encode(request));
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->revision);
  EXPECT_EQ(encode(again->record), encode(request.record));
  request.revision = 0;
  again = decode_namespaces_request(encode(request));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->revision, 0U);
  NamespacesReply reply;
  reply.namespaces.push_back({request.record, {}, 7});
  const auto read = decode_namespaces_reply(encode(reply));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->namespaces[0].revision, 7U);
}

}  // namespace
}  // namespace brokkr::workload
