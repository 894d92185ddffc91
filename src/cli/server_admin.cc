// brokkr server config, cluster, mappings, passwd.

#include <crypt.h>

#include <cstdlib>
#include <memory>

#include "base/random.h"
#include "cli/files.h"
#include "cli/prompt.h"
#include "cli/server_commands.h"
#include "cli/system_api.h"
#include "cli/terminal.h"
#include "subject/transform.h"

namespace brokkr::cli {
namespace {

constexpr uint64_t kCostMin = 4;
constexpr uint64_t kCostMax = 31;
constexpr size_t kPasswordMin = 10;
constexpr size_t kPasswordGenerated = 22;

int run_reload(const Context& context, const Values& values) {
  const std::string id = values.text("id");
  const std::string subject = "$SYS.REQ.SERVER." + id;
  {
    auto api = SystemApi::open(context, values);
    if (!api) return fail(context.program, api.error());
    if (!values.is_on("force")) {
      auto varz = api->ask(subject + ".VARZ", "{}", 1);
      if (!varz) return fail(context.program, varz.error());
      if (varz->empty()) return fail(context.program, "no response from server " + id);
      const json::Value* server = varz->front().server();
      const auto text = [&](const char* member) { return std::string(text_in(server, member)); };
      auto answer = ask_yes("Really reload configuration for " + text("name") + " (" + text("id") +
                                ") on " + text("host"),
                            false);
      if (!answer) return fail(context.program, answer.error());
      if (!*answer) return 0;
    }
    auto replies = api->ask(subject + ".RELOAD", "{}", 1);
    if (!replies) return fail(context.program, replies.error());
    if (replies->size() != 1) {
      return fail(context.program,
                  "invalid response from " + std::to_string(replies->size()) + " servers");
    }
    if (const std::string error = replies->front().error(); !error.empty()) {
      return fail(context.program, "the server kept its configuration: " + error);
    }
  }
  return show_server(context, values, id);
}

int show_mapping(const subject::Transform& transform, const std::string& subject) {
  const std::string mapped = transform.apply(subject);
  if (mapped.empty()) print_line("Error: no matching transforms available");
  print_line(mapped + "\n");
  return mapped.empty() ? 1 : 0;
}

int run_mappings(const Context& context, const Values& values) {
  std::string source = values.text("source");
  std::string destination = values.text("dest");
  for (const auto& [text, question] : {std::pair(&source, "Source subject pattern"),
                                       {&destination, "Destination subject pattern"}}) {
    if (!text->empty()) continue;
    auto answer = ask_text(question, {}, true);
    if (!answer) return fail(context.program, answer.error());
    *text = std::move(*answer);
  }
  auto transform = subject::Transform::make(source, destination);
  if (!transform) return fail(context.program, transform.error());
  if (const std::string subject = values.text("subject"); !subject.empty()) {
    return show_mapping(*transform, subject);
  }
  print(
      "Enter subjects to test, empty subject terminates.\n\n"
      "NOTE: This only tests mappings, it does not add them to the server\n\n");
  while (true) {
    auto subject = ask_text("Subject", {});
    if (!subject) return fail(context.program, subject.error());
    if (subject->empty()) return 0;
    show_mapping(*transform, *subject);
  }
}

// Every byte is one of 64 characters: 6 bits each.
std::string make_password() {
  static constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789()";
  uint8_t bytes[kPasswordGenerated];
  fill_secure(bytes);
  std::string out;
  for (const uint8_t byte : bytes)
    out += kLetters[byte % kLetters.size()];
  return out;
}

Result<std::string> ask_password() {
  auto first = ask_hidden("Enter password");
  if (!first) return first.error();
  auto second = ask_hidden("Re-enter password");
  if (!second) return second.error();
  if (*first != *second) {
    return Error{Errc::InvalidArgument, "entered and re-entered passwords do not match"};
  }
  return first;
}

// "$2a$<cost>$...", which every server reads.
Result<std::string> bcrypt_hash(const std::string& password, uint64_t cost) {
  char setting[CRYPT_GENSALT_OUTPUT_SIZE];
  const auto data = std::make_unique<crypt_data>();
  if (crypt_gensalt_rn("$2b$", cost, nullptr, 0, setting, sizeof setting) == nullptr) {
    return Error{Errc::System, "no random salt"};
  }
  const char* const hash = crypt_r(password.c_str(), setting, data.get());
  if (hash == nullptr || hash[0] == '*') return Error{Errc::System, "error producing bcrypt hash"};
  std::string out = hash;
  out[2] = 'a';  // 2a and 2b name one algorithm
  return out;
}

int run_passwd(const Context& context, const Values& values) {
  const uint64_t cost = values.number("cost");
  if (cost < kCostMin || cost > kCostMax) {
    return fail(context.program, "bcrypt cost should be between 4 and 31");
  }
  std::string password = values.text("pass");
  const bool is_generated = values.is_on("generate");
  if (password.empty() && is_generated) {
    password = make_password();
    print_line("Generated password: " + password);
  } else if (password.empty()) {
    auto answer = ask_password();
    if (!answer) return fail(context.program, "could not read password: " + answer.error().text);
    password = std::move(*answer);
  }
  if (password.size() < kPasswordMin) {
    return fail(context.program, "password should be at least 10 characters long");
  }
  auto hash = bcrypt_hash(password, cost);
  if (!hash) return fail(context.program, hash.error());
  print_line((is_generated ? "       bcrypt hash: " : "") + *hash);
  return 0;
}

Command no_cluster_command(std::string name, std::vector<std::string> aliases,
                           std::string summary) {
  Command command{name, std::move(aliases), std::move(summary)};
  command.run_raw = [name](const std::vector<std::string>&) {
    return fail(
        "brokkr",
        "server cluster " + name +
            " is not available: Brokkr runs as one server, without clusters; use the nats CLI "
            "for a cluster of nats-servers");
  };
  return command;
}

}  // namespace

Command server_config_command() {
  Command reload{"reload", {}, "Reloads the runtime configuration"};
  reload.arguments = {{"id", "The server ID to trigger a reload for"}};
  reload.flags = {{"force,f", "Force reload without prompting"}};
  reload.run = run_reload;
  Command command{"config", {}, "Interact with server configuration"};
  command.subcommands.push_back(std::move(reload));
  return command;
}

Command server_cluster_command() {
  Command command{"cluster",
                  {"r", "raft"},
                  "Manage JetStream Clustering (not available: there are no clusters)"};
  auto& parts = command.subcommands;
  parts.push_back(no_cluster_command("balance", {}, "Balance cluster connections"));
  parts.push_back(
      no_cluster_command("evacuate", {}, "Move all JetStream assets for a peer to other peers"));
  parts.push_back(
      no_cluster_command("step-down", {"stepdown", "sd", "elect", "down", "d"},
                         "Force a new leader election by standing down the current meta leader"));
  parts.push_back(
      no_cluster_command("peer-remove", {"rm", "pr"}, "Removes a server from a JetStream cluster"));
  parts.push_back(no_cluster_command("rescue", {}, "Perform a cluster rescue operation"));
  return command;
}

Command server_mappings_command() {
  Command command{"mappings", {"mapping"}, "Test subject mapping patterns"};
  command.arguments = {{"source", "Source subject pattern", false},
                       {"dest", "Destination subject pattern", false},
                       {"subject", "Subject to transform", false}};
  command.run = run_mappings;
  return command;
}

Command server_passwd_command() {
  Command command{"passwd",
                  {"mkpasswd", "pass", "password"},
                  "Creates encrypted passwords for use in NATS Server"};
  command.flags = {
      {"pass,p", "The password to encrypt (PASSWORD)", Kind::Text, "PASS", "", "PASSWORD"},
      {"cost,c", "The cost to use in the bcrypt argument", Kind::Number, "", "11"},
      {"generate,g", "Generates a secure passphrase and encrypt it"}};
  command.run = run_passwd;
  return command;
}

}  // namespace brokkr::cli
