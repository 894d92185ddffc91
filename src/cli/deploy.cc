// From files and flags to a deployment at the nodes.

#include "cli/deploy.h"

#include <algorithm>
#include <cctype>
#include <limits>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/sha256.h"
#include "cli/artifact.h"
#include "cli/files.h"
#include "cli/terminal.h"
#include "crypto/creds.h"
#include "workload/secrets.h"
#include "workload/signature.h"

namespace brokkr::cli {
namespace {

constexpr size_t kNexfileMax = 4 << 20;
constexpr size_t kSeedFileMax = 64 << 10;
constexpr const char* kNexfileName = "Nexfile";

Result<workload::Pairs> split_pairs(const std::vector<std::string>& words, const char* what) {
  workload::Pairs pairs;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0) {
      return Error{Errc::InvalidArgument, std::string(what) + " \"" + word + "\" is not of the form key=value"};
    }
    pairs.emplace_back(word.substr(0, equals), word.substr(equals + 1));
  }
  return pairs;
}

// 0.4.x writes "--tags 'a=b;c=d'".
Result<workload::Pairs> tags_of(const Values& values, const char* flag) {
  std::vector<std::string> words;
  for (const std::string& given : values.all(flag)) {
    for (const std::string_view part : split(given, ';')) {
      for (const std::string_view word : split(part, ',')) {
        if (!trim(word).empty()) words.emplace_back(trim(word));
      }
    }
  }
  return split_pairs(words, "tag");
}

// Several words in one, as 0.2.7 has them, or one each time.
Result<workload::Words> argv_of(const Values& values) {
  const auto given = values.all("argv");
  if (given.size() != 1) return given;
  return split_words(given.front());
}

Status read_triggers(const Values& values, workload::RunRequest& run) {
  using Kind = workload::Trigger::Kind;
  run.trigger_subjects = values.all("trigger_subject");
  const auto add = [&](Kind kind) -> workload::Trigger& {
    run.triggers.emplace_back().kind = kind;
    return run.triggers.back();
  };
  for (const std::string& text : values.all("trigger-stream")) {
    const size_t colon = text.find(':');
    workload::Trigger& trigger = add(Kind::Stream);
    trigger.stream = text.substr(0, colon);
    if (colon != std::string::npos) trigger.subject = text.substr(colon + 1);
  }
  for (const std::string& text : values.all("trigger-kv")) {
    const size_t slash = text.find('/');
    workload::Trigger& trigger = add(Kind::KeyValue);
    trigger.bucket = text.substr(0, slash);
    if (slash != std::string::npos) trigger.key = text.substr(slash + 1);
  }
  for (const std::string& text : values.all("trigger-object")) add(Kind::Object).bucket = text;
  for (const std::string& text : values.all("trigger-schedule")) add(Kind::Schedule).schedule = text;
  for (const std::string& text : values.all("trigger-http")) {
    if (!text.starts_with("/")) return Error{Errc::InvalidArgument, "--trigger-http \"" + text + "\" must start with /"};
    add(Kind::Http).path = text;
  }
  return {};
}

// Fails rather than deploy another number than was said.
template <typename Number>
Status read_count(const Values& values, const char* flag, Number& into) {
  const uint64_t number = values.number(flag);
  if (number > std::numeric_limits<Number>::max()) {
    return Error{Errc::InvalidArgument, std::string("--") + flag + ": " + values.text(flag) + " is too large"};
  }
  into = static_cast<Number>(number);
  return {};
}

Status read_limits(const Values& values, workload::RunRequest& run) {
  run.limits.wall_time_ms = static_cast<uint64_t>(values.duration("max-time").count() / 1'000'000);
  run.limits.heap_bytes = values.number("max-heap");
  run.resources.memory_bytes = values.number("memory");
  run.resources.disk_bytes = values.number("disk");
  run.resources.io_bytes_per_second = values.number("io");
  for (Status s : {read_count(values, "max-in-flight", run.limits.in_flight),
                   read_count(values, "max-instances", run.limits.max_instances),
                   read_count(values, "pids", run.resources.pids)}) {
    if (!s) return s;
  }
  if (values.has("cpu") && !workload::parse_cpu(values.text("cpu"), run.resources.cpu_millis)) {
    return Error{Errc::InvalidArgument, "--cpu \"" + values.text("cpu") + "\" is no number of CPUs such as 0.5 or 500m"};
  }
  return {};
}

Status read_grants(const Values& values, workload::Grants& grants) {
  const auto read = [&](const char* flag, workload::Words& into) {
    if (!values.has(flag)) return;
    grants.is_declared = true;
    into = values.all(flag);
  };
  read("allow-publish", grants.publish);
  read("allow-subscribe", grants.subscribe);
  read("allow-kv", grants.buckets);
  read("allow-object", grants.object_buckets);
  read("allow-stream", grants.streams);
  return {};
}

Status read_program_flags(const Values& values, workload::RunRequest& run) {
  auto argv = argv_of(values);
  if (!argv) return argv.error();
  run.argv = std::move(*argv);
  run.entrypoint = values.all("entrypoint");
  run.workdir = values.text("workdir");
  run.user = values.text("run-as");
  run.egress = values.all("egress");
  run.stop_grace_ns = values.duration("stop-grace").count();
  for (const std::string& text : values.all("port")) {
    auto port = workload::parse_published_port(text);
    if (!port) return port.error();
    run.ports.push_back(std::move(*port));
  }
  for (const std::string& text : values.all("volume")) {
    const size_t colon = text.find(':');
    if (colon == std::string::npos || colon == 0 || text.substr(colon + 1, 1) != "/") {
      return Error{Errc::InvalidArgument, "--volume \"" + text + "\" is not of the form NAME:/PATH"};
    }
    run.volumes.emplace_back(text.substr(0, colon), text.substr(colon + 1));
  }
  using Restart = workload::RestartPolicy::Kind;
  const std::string restart = values.is_on("essential") ? "always" : values.text("restart");
  if (restart == "always") run.restart.kind = Restart::Always;
  else if (restart == "on-failure") run.restart.kind = Restart::OnFailure;
  else if (restart == "never") run.restart.kind = Restart::Never;
  else if (!restart.empty()) return Error{Errc::InvalidArgument, "--restart is always, on-failure or never"};
  const std::string sandbox = values.text("sandbox");
  if (sandbox == "none") run.isolation = workload::Isolation::None;
  else if (sandbox == "microvm") run.isolation = workload::Isolation::MicroVm;
  else if (sandbox == "sandbox") run.isolation = workload::Isolation::Sandbox;
  else if (!sandbox.empty() && sandbox != "default") {
    return Error{Errc::InvalidArgument, "--sandbox is default, sandbox, microvm or none"};
  }
  using Health = workload::HealthCheck::Kind;
  if (values.has("health-tcp")) {
    run.health.kind = Health::Tcp;
    if (Status s = read_count(values, "health-tcp", run.health.port); !s) return s;
  } else if (values.has("health-service")) {
    run.health.kind = Health::Service;
    run.health.service = values.text("health-service");
  } else if (values.has("health-command")) {
    auto words = split_words(values.text("health-command"));
    if (!words) return words.error();
    run.health.kind = Health::Command;
    run.health.command = std::move(*words);
  }
  run.health.interval_ns = values.duration("health-interval").count();
  return {};
}

Status read_environment(const Values& values, const std::vector<std::string>& assignments, workload::RunRequest& run) {
  std::vector<std::string> words = assignments;
  for (const std::string& word : values.all("env")) words.push_back(word);
  auto environment = split_pairs(words, "environment");
  if (!environment) return environment.error();
  for (auto& pair : *environment) run.environment.push_back(std::move(pair));
  for (const std::string& word : values.all("secret")) {
    const size_t equals = word.find('=');
    const std::string name = equals == std::string::npos ? word : word.substr(equals + 1);
    std::string variable = word.substr(0, equals);
    if (equals == std::string::npos) {
      for (char& c : variable) c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    }
    run.environment.emplace_back(variable, std::string(workload::kSecretScheme) + name);
  }
  return {};
}

// A seed itself, or a file with one.
Result<std::string> seed_text(const std::string& given) {
  if (given.starts_with("S") && given.size() == crypto::kSeedChars) return given;
  return read_file(given, kSeedFileMax);
}

// With --seal-env nobody but the nodes reads the environment.
Status seal(const Values& values, WorkloadClient& workloads, workload::RunRequest& run) {
  if (!values.is_on("seal-env") || run.environment.empty()) return {};
  auto nodes = workloads.nodes();
  if (!nodes) return nodes.error();
  workload::Words recipients;
  for (const auto& node : *nodes) recipients.push_back(node.xkey);
  crypto::CurveKey sender = crypto::CurveKey::generate();
  if (values.has("xkey")) {
    auto text = seed_text(values.text("xkey"));
    if (!text) return text.error();
    auto key = crypto::CurveKey::from_seed(*text);
    workload::wipe(*text);
    if (!key) return key.error();
    sender = std::move(*key);
  }
  auto sealed = workload::seal_environment(run.environment, sender, recipients);
  if (!sealed) return sealed.error();
  run.sealed_environment = std::move(*sealed);
  run.sender_xkey = sender.public_key();
  for (auto& [name, value] : run.environment) workload::wipe(value);
  run.environment.clear();
  return {};
}

bool is_given_beside(const Values& values, std::string& which) {
  for (const Flag& flag : deploy_flags()) {
    static const std::vector<std::string> kFine = {"namespace", "nexfile", "replicas", "node", "env",  "issuer",
                                                   "xkey",      "seal-env", "json",     "wait", "name", "dry-run", "stop"};
    if (std::find(kFine.begin(), kFine.end(), flag.name()) == kFine.end() && values.has(flag.name())) which = flag.name();
  }
  return !which.empty();
}

}  // namespace

Status sign(const Values& values, WorkloadClient& workloads, workload::DeployRequest& request, workload::RunRequest& run) {
  if (!values.has("issuer")) return {};
  auto text = seed_text(values.text("issuer"));
  if (!text) return text.error();
  auto issuer = crypto::parse_seed_file(*text);
  workload::wipe(*text);
  if (!issuer) return issuer.error();
  Nuid nuid(workloads.session().random());
  auto token = workload::sign_deploy(request, run, *issuer, workloads.session().clock().wall_now(),
                                     workload::kSignatureLifetime, nuid.next());
  if (!token) return token.error();
  run.workload_jwt = std::move(*token);
  return {};
}

std::vector<Flag> deploy_flags() {
  return {
      namespace_flag(),
      {"trigger_subject,trigger-subject,trigger", "Subject that triggers the function, repeatable", Kind::Text, "SUBJECT", "", "", true},
      {"trigger-stream", "Stream it consumes durably, with a filter after a colon", Kind::Text, "STREAM[:SUBJECT]", "", "", true},
      {"trigger-kv", "Bucket whose changes trigger it, with a key pattern after a slash", Kind::Text, "BUCKET[/KEY]", "", "", true},
      {"trigger-object", "Object bucket whose changes trigger it", Kind::Text, "BUCKET", "", "", true},
      {"trigger-schedule", "\"@every 5s\", \"@daily\" or cron fields", Kind::Text, "SCHEDULE", "", "", true},
      {"trigger-http", "Path of HTTP requests that trigger it", Kind::Text, "/PATH", "", "", true},
      {"type", "v8, wasm, native or oci; told from the file when absent", Kind::Text, "TYPE"},
      {"lifecycle", "function, service or job; told from the type when absent", Kind::Text, "LIFECYCLE"},
      {"name", "Name of the workload; the file's name when absent", Kind::Text, "NAME"},
      {"description", "What the workload is for", Kind::Text, "TEXT"},
      {"replicas", "Copies to run", Kind::Number, "COUNT"},
      {"node", "Deploy on this node", Kind::Text, "NODE"},
      {"tags,tag", "Tag a node must have, key=value, repeatable", Kind::Text, "TAG", "", "", true},
      {"metadata", "Kept with the workload, key=value, repeatable", Kind::Text, "PAIR", "", "", true},
      {"argv", "Arguments of a program: one each time, or all in one", Kind::Text, "WORDS", "", "", true},
      {"env,e", "Environment, key=value, repeatable", Kind::Text, "PAIR", "", "", true},
      {"secret", "Environment from a secret, [VARIABLE=]NAME, repeatable", Kind::Text, "NAME", "", "", true},
      {"seal-env", "Seal the environment to the nodes"},
      {"sandbox", "default, sandbox, microvm or none", Kind::Text, "KIND"},
      {"egress", "Host it may connect to, HOST[:PORT], repeatable", Kind::Text, "HOST", "", "", true},
      {"port,p", "Port to publish, [[HOST:]HOST_PORT:]PORT, repeatable", Kind::Text, "PORT", "", "", true},
      {"volume", "Folder kept over restarts, NAME:/PATH[:ro], repeatable", Kind::Text, "VOLUME", "", "", true},
      {"entrypoint", "Instead of the image's own, repeatable", Kind::Text, "WORD", "", "", true},
      {"workdir", "Where the program starts", Kind::Text, "PATH"},
      {"run-as", "User of the program, instead of the image's own", Kind::Text, "USER"},
      {"memory", "Memory it may use", Kind::Size, "BYTES"},
      {"cpu", "CPUs it may use, 0.5 or 500m", Kind::Text, "CPUS"},
      {"pids", "Processes and threads it may have", Kind::Number, "COUNT"},
      {"disk", "What it may write", Kind::Size, "BYTES"},
      {"io", "Disk bytes a second", Kind::Size, "BYTES"},
      {"restart", "always, on-failure or never", Kind::Text, "POLICY"},
      {"health-tcp", "Healthy when this port accepts", Kind::Number, "PORT"},
      {"health-command", "Healthy when this ends with 0", Kind::Text, "COMMAND"},
      {"health-service", "Healthy when this service answers $SRV.PING", Kind::Text, "NAME"},
      {"health-interval", "Time between checks", Kind::Duration, "DURATION"},
      {"stop-grace", "Time from SIGTERM to SIGKILL", Kind::Duration, "DURATION"},
      {"allow-publish", "Subject it may publish to, repeatable; with any --allow only those", Kind::Text, "SUBJECT", "", "", true},
      {"allow-subscribe", "Subject it may subscribe to, repeatable", Kind::Text, "SUBJECT", "", "", true},
      {"allow-kv", "Key-value bucket it may use, repeatable", Kind::Text, "BUCKET", "", "", true},
      {"allow-object", "Object bucket it may use, repeatable", Kind::Text, "BUCKET", "", "", true},
      {"allow-stream", "Stream it may use, repeatable", Kind::Text, "STREAM", "", "", true},
      {"queue", "Queue group of the trigger", Kind::Text, "GROUP"},
      {"broadcast", "Every replica runs every message"},
      {"max-time", "Wall time of one call", Kind::Duration, "DURATION"},
      {"max-heap", "Heap of one instance", Kind::Size, "BYTES"},
      {"max-in-flight", "Calls an instance works on at once", Kind::Number, "CALLS"},
      {"max-instances", "Instances at most", Kind::Number, "COUNT"},
      {"sha256", "Digest the artifact must have", Kind::Text, "HEX"},
      {"issuer", "Sign with this account seed: a file or the seed", Kind::Text, "SEED"},
      {"xkey", "Seal with this curve seed: a file or the seed", Kind::Text, "SEED"},
      {"nexfile,f", "Nexfile to deploy; ./Nexfile when nothing else is said", Kind::Text, "FILE"},
      {"start-request", "Run request in JSON, as nex has it", Kind::Text, "JSON"},
      {"wait", "Wait for it so long", Kind::Duration, "DURATION", "60s"},
      {"dry-run", "Print the deployment instead"},
      {"json,j", "Produce JSON output"},
      // Accepted for scripts written for nex; what they ask for holds anyway.
      {"stop", "Stop an older version of the same name (always done)", Kind::Bool, "", "true", "", false, true},
      {"essential", "The same as --restart always", Kind::Bool, "", "", "", false, true},
      {"bucketmaxbytes", "Size of the upload bucket", Kind::Size, "", "", "", false, true},
  };
}

Result<NexfileWorkload> workload_of_flags(const Context& context, const Values& values) {
  NexfileWorkload out;
  if (values.has("start-request")) {
    auto run = workload::decode_run_request(values.text("start-request"));
    if (!run) return Error{Errc::InvalidArgument, "--start-request: " + run.error().text};
    out.run = std::move(*run);
  }
  std::vector<std::string> assignments = values.all("assignment");
  out.node = values.text("node");
  // nex 0.2.7 names the node after the place: "run URL NODE k=v".
  if (is_place(values.text("file")) && !assignments.empty() && out.node.empty() &&
      assignments.front().find('=') == std::string::npos) {
    out.node = assignments.front();
    assignments.erase(assignments.begin());
  }
  if (!values.has("start-request")) {
    for (Status s : {read_triggers(values, out.run), read_limits(values, out.run), read_grants(values, out.run.grants),
                     read_program_flags(values, out.run)}) {
      if (!s) return s.error();
    }
    out.run.queue_group = values.text("queue");
    out.run.is_broadcast = values.is_on("broadcast");
    out.run.sha256 = to_lower(values.text("sha256"));
  }
  if (Status s = read_environment(values, assignments, out.run); !s) return s.error();
  auto tags = tags_of(values, "tags");
  auto metadata = split_pairs(values.all("metadata"), "metadata");
  if (!tags) return tags.error();
  if (!metadata) return metadata.error();
  out.tags = std::move(*tags);
  out.metadata = std::move(*metadata);
  const std::string place = values.text("file");
  if (is_place(place)) {
    out.run.uri = place;
  } else {
    out.file = place;
  }
  out.type = values.text("type");
  out.lifecycle = values.text("lifecycle");
  out.name = values.has("name") ? values.text("name") : name_of_place(place);
  out.description = values.text("description");
  out.has_replicas = values.has("replicas");
  if (Status s = read_count(values, "replicas", out.replicas); !s) return s.error();
  if (out.name.empty() && place.empty()) {
    return Error{Errc::InvalidArgument,
                 "say --name, there is no file to name it after; try '" + context.program + " run --help'"};
  }
  return out;
}

Result<Nexfile> read_nexfile(const Context& context, const Values& values) {
  const bool is_given = values.has("nexfile");
  const std::string path = is_given ? values.text("nexfile") : kNexfileName;
  if (!is_given && !is_file(path)) {
    return Error{Errc::InvalidArgument, "nothing to deploy: name a file or -f NEXFILE, there is no ./Nexfile; try '" +
                                            context.program + " run --help'"};
  }
  std::string flag;
  if (is_given_beside(values, flag)) {
    return Error{Errc::InvalidArgument, "--" + flag + " does not go with a Nexfile, write it there"};
  }
  auto text = path == "-" ? read_stdin(kNexfileMax) : read_file(path, kNexfileMax);
  if (!text) return text.error();
  auto file = parse_nexfile(*text, path == "-" ? "stdin" : path);
  if (!file) return file;
  if (values.has("name") && file->workloads.size() > 1) {
    return Error{Errc::InvalidArgument, "--name does not go with a Nexfile of several workloads"};
  }
  for (NexfileWorkload& one : file->workloads) {
    if (values.has("name")) one.name = values.text("name");
    if (values.has("node")) one.node = values.text("node");
    if (values.has("replicas")) {
      if (Status s = read_count(values, "replicas", one.replicas); !s) return s.error();
      one.has_replicas = true;
    }
    auto environment = split_pairs(values.all("env"), "environment");
    if (!environment) return environment.error();
    for (auto& pair : *environment) one.run.environment.push_back(std::move(pair));
  }
  return file;
}

Result<workload::RolloutStatus> deploy(const Context& context, WorkloadClient& workloads, NexfileWorkload wanted,
                                       const std::string& folder, const Values& values) {
  workload::ApplyRequest apply;
  workload::DeployRequest& request = apply.deploy;
  if (Status s = load_artifact(wanted, folder); !s) return s.error();
  if (wanted.name.empty()) return Error{Errc::InvalidArgument, "there is no name in the file's, say --name"};
  request.workload_type = wanted.type;
  request.workload_lifecycle = wanted.lifecycle;
  static const std::vector<std::string> kTypes = {"v8", "wasm", "native", "oci"};
  if (std::find(kTypes.begin(), kTypes.end(), wanted.type) == kTypes.end()) {
    return Error{Errc::Unsupported, "workload type \"" + wanted.type + "\" is not known: v8, wasm, native or oci"};
  }
  if (request.workload_lifecycle == "function" && wanted.run.trigger_subjects.empty() && wanted.run.triggers.empty()) {
    return Error{Errc::InvalidArgument, "a function needs a subject: --trigger_subject SUBJECT"};
  }
  request.name = wanted.name;
  request.ns = wanted.ns.empty() ? workloads.ns() : wanted.ns;
  request.description = wanted.description;
  request.tags = wanted.tags;
  request.metadata = wanted.metadata;
  if (wanted.run.isolation == workload::Isolation::None) remark("sandbox=none: \"" + wanted.name + "\" is not confined");
  apply.replicas = wanted.has_replicas ? wanted.replicas : 0;
  apply.max_unavailable = wanted.max_unavailable;
  apply.progress_deadline_ns = wanted.progress_deadline_ns;
  apply.wait_ms = static_cast<uint64_t>(values.duration("wait").count() / 1'000'000);
  if (values.is_on("dry-run")) {
    request.run_request = workload::encode(wanted.run);
    print_line(workload::encode(apply));
    return workload::RolloutStatus{};
  }
  if (!wanted.node.empty()) {
    auto node = workloads.node(wanted.node);
    if (!node) return node.error();
    apply.node = node->node_id;
  }
  if (Status s = seal(values, workloads, wanted.run); !s) return s.error();
  if (Status s = store_artifact(workloads, request.ns, wanted.run); !s) return s.error();
  if (Status s = sign(values, workloads, request, wanted.run); !s) return s.error();
  request.run_request = workload::encode(wanted.run);
  (void)context;
  if (values.is_on("direct") && !wanted.has_replicas) return workloads.deploy_one(apply);
  return workloads.apply(apply, [&](workload::ApplyRequest& again) -> Status {
    wanted.run.workload_jwt.clear();
    if (Status s = sign(values, workloads, again.deploy, wanted.run); !s) return s;
    again.deploy.run_request = workload::encode(wanted.run);
    return {};
  });
}

}  // namespace brokkr::cli
