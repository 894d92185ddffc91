#include "workload/control_invocations.h"

#include "workload/json_members.h"

namespace brokkr::workload {

std::string encode(const InvocationsRequest& request) {
  json::Writer out;
  out.begin_object().field("limit", uint64_t{request.limit});
  return out.field("errors", request.errors).end_object().take();
}

std::string encode(const InvocationsReply& reply) {
  json::Writer out;
  out.begin_object().field("id", reply.id).field("name", reply.name);
  out.field("node_id", reply.node_id).field("slot", uint64_t{reply.slot}).key("invocations").begin_array();
  for (const InvocationRecord& record : reply.invocations) {
    out.begin_object().field("time", record.time).field("subject", record.subject);
    out.field("duration_ns", record.duration_ns).field("waited_ns", record.waited_ns);
    out.field("code", uint64_t{record.code});
    if (!record.error.empty()) out.field("error", record.error);
    out.field("payload_bytes", record.payload_bytes).field("reply_bytes", record.reply_bytes);
    if (record.deliveries != 0) out.field("deliveries", uint64_t{record.deliveries});
    if (!record.trace_id.empty()) out.field("trace_id", record.trace_id);
    out.end_object();
  }
  return out.end_array().end_object().take();
}

Result<InvocationsRequest> decode_invocations_request(std::string_view text) {
  const Result<json::Value> value = parse_object(text);
  if (!value) return value.error();
  InvocationsRequest request;
  MemberReader in(*value);
  return in.read("limit", request.limit).read("errors", request.errors).finish(request);
}

Result<InvocationsReply> decode_invocations_reply(std::string_view text) {
  const Result<json::Value> value = parse_object(text);
  if (!value) return value.error();
  InvocationsReply reply;
  MemberReader in(*value);
  in.read("id", reply.id).read("name", reply.name).read("node_id", reply.node_id);
  in.read("slot", reply.slot);
  if (const json::Value* records = in.find("invocations")) {
    for (const json::Value& item : records->items()) {
      MemberReader record(item);
      InvocationRecord& into = reply.invocations.emplace_back();
      record.read("time", into.time).read("subject", into.subject);
      record.read("duration_ns", into.duration_ns).read("waited_ns", into.waited_ns);
      record.read("code", into.code).read("error", into.error);
      record.read("payload_bytes", into.payload_bytes).read("reply_bytes", into.reply_bytes);
      record.read("deliveries", into.deliveries).read("trace_id", into.trace_id);
      if (!record.status()) return record.status().error();
    }
  }
  return in.finish(std::move(reply));
}

}  // namespace brokkr::workload
