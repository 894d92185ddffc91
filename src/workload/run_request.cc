#include "workload/run_request.h"

#include <optional>

#include "workload/json_members.h"

namespace brokkr::workload {

std::string encode(const RunRequest& request) {
  json::Writer out;
  out.begin_object().field("artifact", base64_encode(request.artifact));
  out.field("sha256", request.sha256).field("file_name", request.file_name);
  write_strings(out, "trigger_subjects", request.trigger_subjects);
  out.field("queue_group", request.queue_group).field("broadcast", request.is_broadcast);
  write_pairs(out, "environment", request.environment);
  write_limits(out, "limits", request.limits);
  return out.end_object().take();
}

Result<RunRequest> decode_run_request(std::string_view text) {
  const Result<json::Value> value = parse_object(text);
  if (!value) return value.error();
  RunRequest request;
  MemberReader in(*value);
  std::string encoded;
  in.read("artifact", encoded).read("sha256", request.sha256);
  in.read("file_name", request.file_name).read("trigger_subjects", request.trigger_subjects);
  in.read("queue_group", request.queue_group).read("broadcast", request.is_broadcast);
  in.read("environment", request.environment).read("limits", request.limits);
  if (!in.status()) return in.status().error();
  std::optional<std::string> artifact = base64_decode(encoded);
  if (!artifact) return Error{Errc::InvalidArgument, "\"artifact\" is not valid base64"};
  request.artifact = std::move(*artifact);
  return request;
}

}  // namespace brokkr::workload
