// The only file that knows yaml-cpp.

#include "cli/nexfile.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/json.h"
#include "cli/command.h"

namespace brokkr::cli {
namespace {

// Aliases may repeat a part; this many values no honest file has.
constexpr size_t kValuesMax = 100'000;
constexpr size_t kDepthMax = 64;
constexpr size_t kTextMax = 4 << 20;

const std::vector<std::string> kOwnMembers = {
    "name",      "namespace", "description",     "tags",    "type",      "lifecycle", "start_request", "metadata",
    "replicas",  "node",      "placement",       "file",    "env",       "secrets",   "memory",        "cpu",
    "max_unavailable", "progress_deadline"};
// Members of a start request, which may also stand beside the others.
const std::vector<std::string> kRunMembers = {
    "artifact",    "uri",        "sha256",   "file_name", "trigger_subjects",   "triggers",    "queue_group",
    "broadcast",   "argv",       "entrypoint", "workdir", "user",               "environment", "sealed_environment",
    "sender_xkey", "volumes",    "limits",   "resources", "isolation",          "grants",      "egress",
    "ports",       "expose_ports", "restart", "health",   "stop_grace",         "stop_grace_ns", "workload_jwt"};
// Documented for Nex, never there.
const std::vector<std::string> kNeverThere = {"stdin", "artifacts"};
// Below these, scalars are texts whatever they look like.
const std::set<std::string, std::less<>> kTextMembers = {
    "name", "namespace", "description", "type", "lifecycle", "environment", "env", "tags", "metadata", "volumes",
    "argv", "entrypoint", "command", "node", "file", "uri", "user", "workdir", "sha256", "secrets", "egress",
    "trigger_subjects", "file_name", "queue_group", "start", "bucket", "key", "stream", "subject", "path",
    "service", "publish", "subscribe", "buckets", "object_buckets", "streams", "host", "schedule"};

bool is_one_of(const std::vector<std::string>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// A mistake at a place of the file, on its way out of this file's functions.
struct NexfileMistake {
  YAML::Mark mark;
  std::string text;
};

class NexfileReader {
 public:
  explicit NexfileReader(std::vector<std::string>& remarks) : remarks_(remarks) {}

  NexfileWorkload read(const YAML::Node& document);

 private:
  void read_member(const std::string& name, const YAML::Node& node, NexfileWorkload& into);
  void read_placement(const YAML::Node& node, NexfileWorkload& into);
  void read_secrets(const YAML::Node& node);
  void read_start_request(const YAML::Node& node);
  void add_run_member(const std::string& name, const YAML::Node& key, const YAML::Node& value);
  void decode_run(const YAML::Node& document, NexfileWorkload& into);
  static std::string text_of(const std::string& name, const YAML::Node& node);
  static workload::Pairs pairs_of(const std::string& name, const YAML::Node& node);
  static uint32_t count_of(const std::string& name, const YAML::Node& node, uint32_t least);
  void write(json::Writer& out, const YAML::Node& node, bool is_text, size_t depth);

  std::vector<std::string>& remarks_;
  std::vector<std::pair<std::string, YAML::Node>> run_members_;
  workload::Pairs environment_;
  size_t values_ = 0;
};

[[noreturn]] void mistake(const YAML::Node& node, std::string text) {
  throw NexfileMistake{node.Mark(), std::move(text)};
}

std::string place_text(const YAML::Mark& mark) {
  if (mark.is_null()) return {};
  return std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1) + ": ";
}

// The scalars of YAML 1.2's core schema; all else is text.
bool write_plain(json::Writer& out, const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") {
    out.null();
    return true;
  }
  if (text == "true" || text == "True" || text == "TRUE" || text == "false" || text == "False" || text == "FALSE") {
    out.boolean(to_lower(text) == "true");
    return true;
  }
  if (const auto whole = parse_int(text)) {
    out.number(*whole);
    return true;
  }
  const bool is_number = text.find_first_not_of("0123456789+-.eE") == std::string::npos &&
                         text.find_first_of("0123456789") != std::string::npos;
  const auto number = is_number ? parse_double(text) : std::nullopt;
  if (!number || !std::isfinite(*number)) return false;
  out.number(*number);
  return true;
}

void NexfileReader::write(json::Writer& out, const YAML::Node& node, bool is_text, size_t depth) {
  if (++values_ > kValuesMax || depth > kDepthMax) mistake(node, "the file is too deep or too large");
  switch (node.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null: out.null(); return;
    case YAML::NodeType::Scalar:
      // "?" is the tag of a plain scalar; quotes make it a text.
      if (is_text || node.Tag() != "?" || !write_plain(out, node.Scalar())) out.string(node.Scalar());
      return;
    case YAML::NodeType::Sequence:
      out.begin_array();
      for (const YAML::Node& item : node) write(out, item, is_text, depth + 1);
      out.end_array();
      return;
    case YAML::NodeType::Map: break;
  }
  out.begin_object();
  std::set<std::string> seen;
  for (const auto& member : node) {
    const YAML::Node& key = member.first;
    const YAML::Node& value = member.second;
    if (!key.IsScalar()) mistake(key, "a member's name must be a text");
    if (!seen.insert(key.Scalar()).second) mistake(key, "\"" + key.Scalar() + "\" is there twice");
    out.key(key.Scalar());
    write(out, value, is_text || kTextMembers.contains(key.Scalar()), depth + 1);
  }
  out.end_object();
}

std::string NexfileReader::text_of(const std::string& name, const YAML::Node& node) {
  if (!node.IsScalar()) mistake(node, "\"" + name + "\" must be a text");
  return node.Scalar();
}

workload::Pairs NexfileReader::pairs_of(const std::string& name, const YAML::Node& node) {
  workload::Pairs pairs;
  if (node.IsNull()) return pairs;
  // Also a list of "key=value", as other tools have the environment.
  if (node.IsSequence()) {
    for (const YAML::Node& item : node) {
      const std::string word = item.IsScalar() ? item.Scalar() : "";
      const size_t equals = word.find('=');
      if (equals == std::string::npos || equals == 0) mistake(item, "\"" + name + "\" must have key=value here");
      pairs.emplace_back(word.substr(0, equals), word.substr(equals + 1));
    }
    return pairs;
  }
  if (!node.IsMap()) mistake(node, "\"" + name + "\" must be names with their texts");
  for (const auto& member : node) {
    const YAML::Node& key = member.first;
    const YAML::Node& value = member.second;
    if (!key.IsScalar() || !(value.IsScalar() || value.IsNull())) {
      mistake(value, "\"" + name + "\" must be names with their texts");
    }
    pairs.emplace_back(key.Scalar(), value.IsNull() ? "" : value.Scalar());
  }
  return pairs;
}

uint32_t NexfileReader::count_of(const std::string& name, const YAML::Node& node, uint32_t least) {
  const auto number = node.IsScalar() ? parse_uint(node.Scalar()) : std::nullopt;
  if (!number || *number < least || *number > 1'000'000) {
    mistake(node, "\"" + name + "\" must be a whole number" + (least > 0 ? " above 0" : ""));
  }
  return static_cast<uint32_t>(*number);
}

void NexfileReader::read_placement(const YAML::Node& node, NexfileWorkload& into) {
  if (!node.IsMap()) mistake(node, "\"placement\" must have \"node\" or \"tags\"");
  for (const auto& member : node) {
    const YAML::Node& key = member.first;
    const YAML::Node& value = member.second;
    const std::string name = key.Scalar();
    if (name == "node") {
      into.node = text_of(name, value);
    } else if (name == "tags") {
      for (auto& pair : pairs_of(name, value)) into.tags.push_back(std::move(pair));
    } else {
      mistake(key, "\"placement\" has no member \"" + name + "\"; it has node and tags");
    }
  }
}

// "secrets: [db-password]" is DB_PASSWORD=secret://db-password; a map says the variable's name itself.
void NexfileReader::read_secrets(const YAML::Node& node) {
  if (node.IsMap()) {
    for (const auto& [variable, secret] : pairs_of("secrets", node)) {
      environment_.emplace_back(variable, "secret://" + secret);
    }
    return;
  }
  if (!node.IsSequence()) mistake(node, "\"secrets\" must be a list of names, or variables with names");
  for (const YAML::Node& item : node) {
    const std::string secret = text_of("secrets", item);
    std::string variable = secret;
    for (char& c : variable) {
      if (c == '-' || c == '.') c = '_';
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    }
    environment_.emplace_back(variable, "secret://" + secret);
  }
}

void NexfileReader::add_run_member(const std::string& name, const YAML::Node& key, const YAML::Node& value) {
  for (const auto& [there, node] : run_members_) {
    if (there == name) mistake(key, "\"" + name + "\" is there twice");
  }
  run_members_.emplace_back(name, value);
}

void NexfileReader::read_start_request(const YAML::Node& node) {
  if (node.IsNull()) return;
  // 0.4.x's client also takes the JSON text.
  if (node.IsScalar()) return read_start_request(YAML::Load(node.Scalar()));
  if (!node.IsMap()) mistake(node, "\"start_request\" must be an object");
  for (const auto& member : node) {
    const YAML::Node& key = member.first;
    const YAML::Node& value = member.second;
    const std::string name = key.Scalar();
    if (is_one_of(kRunMembers, name)) {
      add_run_member(name, key, value);
    } else if (is_one_of(kNeverThere, name)) {
      remarks_.push_back(place_text(key.Mark()) + "\"" + name + "\" is read over");
    } else if (name != "description") {
      const std::string near = nearest(name, kRunMembers);
      mistake(key, "\"start_request\" has no member \"" + name + "\"" + (near.empty() ? "" : ", did you mean \"" + near + "\"?"));
    }
  }
}

void NexfileReader::read_member(const std::string& name, const YAML::Node& node, NexfileWorkload& into) {
  if (name == "name") into.name = text_of(name, node);
  if (name == "namespace") into.ns = text_of(name, node);
  if (name == "description") into.description = node.IsNull() ? "" : text_of(name, node);
  if (name == "type") into.type = text_of(name, node);
  if (name == "lifecycle") into.lifecycle = text_of(name, node);
  if (name == "node") into.node = text_of(name, node);
  if (name == "file") into.file = text_of(name, node);
  if (name == "tags") into.tags = pairs_of(name, node);
  if (name == "metadata") into.metadata = pairs_of(name, node);
  if (name == "placement") read_placement(node, into);
  if (name == "secrets") read_secrets(node);
  if (name == "start_request") read_start_request(node);
  if (name == "max_unavailable") into.max_unavailable = count_of(name, node, 1);
  if (name == "replicas") {
    into.replicas = count_of(name, node, 0);
    into.has_replicas = true;
  }
  if (name == "env") {
    for (auto& pair : pairs_of(name, node)) environment_.push_back(std::move(pair));
  }
  if (name == "progress_deadline") {
    Duration deadline{};
    if (!parse_go_duration(text_of(name, node), deadline) || deadline.count() <= 0) {
      mistake(node, "\"progress_deadline\" must be a duration such as \"60s\"");
    }
    into.progress_deadline_ns = deadline.count();
  }
  if (name == "memory" && !workload::parse_byte_size(text_of(name, node), into.run.resources.memory_bytes)) {
    mistake(node, "\"memory\" must be a size such as \"64MiB\"");
  }
  if (name == "cpu" && !workload::parse_cpu(text_of(name, node), into.run.resources.cpu_millis)) {
    mistake(node, "\"cpu\" must be a number of CPUs such as 0.5 or \"500m\"");
  }
}

// Where the member is that an error of decode_run_request names: "triggers[1]: "type" is …".
YAML::Node find_place(const YAML::Node& start, std::string_view words) {
  YAML::Node place;
  place.reset(start);
  while (!words.empty()) {
    const bool is_quoted = words.front() == '"';
    const size_t end = is_quoted ? words.find('"', 1) : words.find_first_of(":[ ");
    if (end == std::string_view::npos) break;
    const std::string name(words.substr(is_quoted ? 1 : 0, end - (is_quoted ? 1 : 0)));
    const YAML::Node next = place.IsMap() ? static_cast<const YAML::Node&>(place)[name] : YAML::Node(YAML::NodeType::Undefined);
    if (!next.IsDefined()) break;
    place.reset(next);
    words.remove_prefix(is_quoted ? end + 1 : end);
    if (words.starts_with("[")) {
      const size_t close = words.find(']');
      const auto index = parse_uint(words.substr(1, close - 1));
      if (!index || !place.IsSequence() || *index >= place.size()) break;
      place.reset(static_cast<const YAML::Node&>(place)[static_cast<size_t>(*index)]);
      words.remove_prefix(close + 1);
    }
    if (is_quoted || !words.starts_with(": ")) break;
    words.remove_prefix(2);
  }
  return place;
}

void NexfileReader::decode_run(const YAML::Node& document, NexfileWorkload& into) {
  json::Writer out;
  out.begin_object();
  YAML::Node all(YAML::NodeType::Map);
  for (const auto& [name, node] : run_members_) {
    out.key(name);
    write(out, node, kTextMembers.contains(name), 0);
    all[name] = node;
  }
  auto run = workload::decode_run_request(out.end_object().take());
  if (!run) {
    const YAML::Node place = find_place(all, run.error().text);
    mistake(place.Mark().is_null() || place.is(all) ? document : place, run.error().text);
  }
  const workload::Resources resources = into.run.resources;
  into.run = std::move(*run);
  if (resources.memory_bytes > 0) into.run.resources.memory_bytes = resources.memory_bytes;
  if (resources.cpu_millis > 0) into.run.resources.cpu_millis = resources.cpu_millis;
  for (auto& [variable, value] : environment_) into.run.environment.emplace_back(variable, std::move(value));
  // What looks like a place of a program but has no scheme is a file beside the Nexfile.
  if (into.file.empty() && into.run.uri.find(':') == std::string::npos) into.file = std::exchange(into.run.uri, {});
}

NexfileWorkload NexfileReader::read(const YAML::Node& document) {
  if (!document.IsMap()) mistake(document, "a Nexfile's document must be names with values");
  NexfileWorkload into;
  into.line = static_cast<size_t>(document.Mark().line + 1);
  std::vector<std::string> known = kOwnMembers;
  known.insert(known.end(), kRunMembers.begin(), kRunMembers.end());
  std::set<std::string> seen;
  for (const auto& member : document) {
    const YAML::Node& key = member.first;
    const YAML::Node& value = member.second;
    if (!key.IsScalar()) mistake(key, "a member's name must be a text");
    const std::string name = key.Scalar();
    if (!seen.insert(name).second) mistake(key, "\"" + name + "\" is there twice");
    if (is_one_of(kOwnMembers, name)) {
      read_member(name, value, into);
    } else if (name == "environment") {
      for (auto& pair : pairs_of(name, value)) environment_.push_back(std::move(pair));
    } else if (is_one_of(kRunMembers, name)) {
      add_run_member(name, key, value);
    } else {
      const std::string near = nearest(name, known);
      mistake(key, "no member is called \"" + name + "\"" + (near.empty() ? "" : ", did you mean \"" + near + "\"?"));
    }
  }
  if (into.name.empty()) mistake(document, "\"name\" is missing or empty");
  decode_run(document, into);
  return into;
}

}  // namespace

Result<Nexfile> parse_nexfile(std::string_view text, const std::string& where) {
  if (text.size() > kTextMax) return Error{Errc::LimitExceeded, where + ": the file is too large"};
  Nexfile file;
  try {
    for (const YAML::Node& document : YAML::LoadAll(std::string(text))) {
      if (document.IsNull()) continue;
      // A JSON file may hold a list of workloads.
      if (document.IsSequence()) {
        for (const YAML::Node& one : document) file.workloads.push_back(NexfileReader(file.remarks).read(one));
      } else {
        file.workloads.push_back(NexfileReader(file.remarks).read(document));
      }
    }
  } catch (const NexfileMistake& wrong) {
    return Error{Errc::InvalidArgument, where + ":" + (wrong.mark.is_null() ? " " : place_text(wrong.mark)) + wrong.text};
  } catch (const YAML::Exception& wrong) {
    return Error{Errc::Syntax, where + ":" + (wrong.mark.is_null() ? " " : place_text(wrong.mark)) + wrong.msg};
  }
  if (file.workloads.empty()) return Error{Errc::InvalidArgument, where + ": there is no workload in it"};
  for (size_t i = 0; i < file.workloads.size(); ++i) {
    for (size_t before = 0; before < i; ++before) {
      const NexfileWorkload& one = file.workloads[i];
      if (one.name == file.workloads[before].name && one.ns == file.workloads[before].ns) {
        return Error{Errc::InvalidArgument, where + ":" + std::to_string(one.line) + ": workload \"" + one.name +
                                                "\" is there twice"};
      }
    }
  }
  return file;
}

}  // namespace brokkr::cli
