// The JSON Schema of a run request, which nex 0.4.x checks start requests against before it deploys.

#include "workload/run_request.h"

namespace brokkr::workload {

std::string_view run_request_schema() {
  return R"({"$schema":"https://json-schema.org/draft/2020-12/schema","title":"start_request","type":"object",
"$defs":{"words":{"type":"array","items":{"type":"string"}},"texts":{"type":"object","additionalProperties":{"type":"string"}},
"word_or_words":{"anyOf":[{"type":"string"},{"$ref":"#/$defs/words"}]},
"duration":{"anyOf":[{"type":"string"},{"type":"integer","minimum":0}]},
"size":{"anyOf":[{"type":"string"},{"type":"integer","minimum":0}]},
"port":{"anyOf":[{"type":"string"},{"type":"integer","minimum":1,"maximum":65535},{"type":"object"}]}},
"properties":{
"description":{"type":"string"},
"uri":{"type":"string","description":"nats://BUCKET/NAME[:TAG], sha256://HEX, file:///PATH, docker://…, oci:…, image:…"},
"artifact":{"type":"string","contentEncoding":"base64"},"sha256":{"type":"string"},"file_name":{"type":"string"},
"trigger_subjects":{"$ref":"#/$defs/word_or_words"},
"triggers":{"type":"array","items":{"anyOf":[{"type":"string"},{"type":"object"}]}},
"queue_group":{"type":"string"},"broadcast":{"type":"boolean"},
"argv":{"$ref":"#/$defs/words"},"entrypoint":{"$ref":"#/$defs/words"},
"workdir":{"type":"string"},"user":{"type":"string"},
"environment":{"$ref":"#/$defs/texts"},"sealed_environment":{"type":"string"},"sender_xkey":{"type":"string"},
"volumes":{"$ref":"#/$defs/texts"},
"limits":{"type":"object"},
"resources":{"type":"object","properties":{"memory":{"$ref":"#/$defs/size"},"disk":{"$ref":"#/$defs/size"},
"io":{"$ref":"#/$defs/size"},"cpu":{"anyOf":[{"type":"number"},{"type":"string"}]},"pids":{"type":"integer","minimum":0}}},
"isolation":{"enum":["default","sandbox","microvm","none"]},
"grants":{"type":"object"},
"egress":{"$ref":"#/$defs/word_or_words"},
"ports":{"type":"array","items":{"$ref":"#/$defs/port"}},"expose_ports":{"type":"array","items":{"$ref":"#/$defs/port"}},
"restart":{"anyOf":[{"enum":["default","always","on-failure","never"]},{"type":"object"}]},
"health":{"type":"object"},
"stop_grace":{"$ref":"#/$defs/duration"},
"workload_jwt":{"type":"string"}}})";
}

}  // namespace brokkr::workload
