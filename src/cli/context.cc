// brokkr context: named connection settings, in the files the nats CLI keeps them in.

#include <algorithm>
#include <cstdlib>

#include "base/bytes.h"
#include "cli/columns.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/context_store.h"
#include "cli/context_yaml.h"
#include "cli/files.h"
#include "cli/prompt.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr const char* kDefaultUrl = "nats://127.0.0.1:4222";
constexpr const char* kEmbedded = "data:;base64,";
// Variables that speak louder than any context.
constexpr const char* kOverrides[] = {"NATS_URL",  "NATS_USER", "NATS_PASSWORD", "NATS_CREDS",
                                      "NATS_NKEY", "NATS_CERT", "NATS_KEY",      "NATS_CA",
                                      "NATS_TIMEOUT", "NATS_SOCKS_PROXY", "NATS_COLOR"};

void expand_paths(ContextSettings& settings) {
  for (std::string* path : {&settings.creds, &settings.nkey, &settings.cert, &settings.key, &settings.ca}) {
    *path = expand_path(*path);
  }
  if (settings.url.empty()) settings.url = kDefaultUrl;
}

Result<ContextSettings> load_expanded(const std::string& name) {
  auto settings = ContextStore().load(name);
  if (settings) expand_paths(*settings);
  return settings;
}

// What a reference to a secret is good for; counts those that are not.
std::string check_reference(const std::string& reference, int& errors) {
  const std::string_view scheme = reference_scheme(reference);
  if (scheme == "op") return "1Password";
  if (scheme == "nsc") return "nsc";
  if (scheme == "env") return "runtime environment";
  if (scheme == "data") return "embedded";
  if (is_file(reference_path(reference))) return "OK";
  ++errors;
  return "ERROR";
}

void add_reference(Columns& out, const char* name, const std::string& reference, int& errors) {
  if (reference.empty()) return;
  if (reference.starts_with(kEmbedded)) return out.row(name, "embedded data");
  out.row(name, reference + " (" + check_reference(reference, errors) + ")");
}

void add_connection_check(Columns& out, const Context& context, const Values& values,
                          const ContextSettings& settings, int& errors) {
  auto options = make_options(context, values, settings);
  if (options) options->allow_reconnect = false;
  auto session = options ? client::Session::connect(std::move(*options))
                         : Result<std::unique_ptr<client::Session>>(options.error());
  if (!session) ++errors;
  out.row("Connection", session ? "OK" : describe(session.error()));
}

std::string overrides_text() {
  std::string out;
  for (const char* name : kOverrides) {
    const char* const value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    if (!out.empty()) out += ", ";
    out += name;
  }
  return out;
}

// Prints one context; `errors` counts what is wrong with it.
Status show_context(const Context& context, const Values& values, const std::string& name, int& errors) {
  const auto settings = load_expanded(name);
  if (!settings) return settings.error();
  if (values.is_on("json")) {
    json::Writer out(json::Writer::Options{.indent = 2});
    write_context(out, *settings, name);
    print_line(out.text());
    return {};
  }
  Columns out("NATS Configuration Context \"" + name + "\"");
  out.row_if_any("Description", settings->description);
  out.row_if_any("Server URLs", settings->url);
  out.row_if_any("SOCKS5 Proxy", settings->socks_proxy);
  out.row_if_any("Username", settings->user);
  out.row_if_any("Password", std::string(settings->password.size(), '*'));
  out.row_if_any("Token", settings->token);
  add_reference(out, "Credentials", settings->creds, errors);
  add_reference(out, "User JWT", settings->user_jwt, errors);
  add_reference(out, "User Seed", settings->user_seed, errors);
  add_reference(out, "NKey", settings->nkey, errors);
  add_reference(out, "Certificate", settings->cert, errors);
  add_reference(out, "Key", settings->key, errors);
  add_reference(out, "CA", settings->ca, errors);
  if (settings->tls_first) out.row("TLS First", true);
  out.row_if_any("JS API Prefix", settings->jetstream_api_prefix);
  out.row_if_any("JS Event Prefix", settings->jetstream_event_prefix);
  out.row_if_any("JS Domain", settings->jetstream_domain);
  out.row_if_any("Inbox Prefix", settings->inbox_prefix);
  out.row("Path", ContextStore().path(name));
  out.row_if_any("Color Scheme", settings->color_scheme);
  if (values.is_on("connect")) add_connection_check(out, context, values, *settings, errors);
  print_line(out.text());
  if (const std::string list = overrides_text(); !list.empty()) {
    print_line("WARNING: Shell environment overrides in place using " + list);
  }
  return {};
}

int show_named(const Context& context, const Values& values, const std::string& name) {
  if (name.empty()) return fail(context.program, "no default context and no name supplied");
  int errors = 0;
  const Status shown = show_context(context, values, name, errors);
  return shown ? 0 : fail(context.program, shown.error());
}

int run_context_info(const Context& context, const Values& values) {
  const std::string name = values.text("name");
  return show_named(context, values, name.empty() ? ContextStore().selected() : name);
}

int run_context_validate(const Context& context, const Values& values) {
  const std::string only = values.text("name");
  int errors = 0;
  for (const std::string& name : only.empty() ? ContextStore().names() : std::vector<std::string>{only}) {
    const Status shown = show_context(context, values, name, errors);
    if (!shown) print_line("Could not load " + name + ": " + shown.error().text + "\n");
    print_line("");
  }
  return errors == 0 ? 0 : fail(context.program, "validation failed");
}

int run_context_list(const Context& context, const Values& values) {
  const ContextStore store;
  const std::string selected = store.selected();
  std::vector<std::pair<std::string, ContextSettings>> known;
  for (const std::string& name : store.names()) {
    auto settings = load_expanded(name);
    if (settings) known.emplace_back(name, std::move(*settings));
    else remark("Could not load context " + name + ": " + settings.error().text);
  }
  if (values.is_on("names") || values.is_on("completion")) {
    for (const auto& [name, settings] : known) {
      const bool is_plain = values.is_on("names");
      print_line(is_plain ? name : name + (name == selected ? "*:" : ":") + settings.description);
    }
    return 0;
  }
  if (values.is_on("json")) {
    json::Writer out(json::Writer::Options{.indent = 2});
    out.begin_array();
    for (const auto& [name, settings] : known) write_context(out, settings, name);
    print_line(out.end_array().text());
    return 0;
  }
  if (known.empty()) {
    print_line("No known contexts");
    return 0;
  }
  Table table("Known Contexts");
  for (const auto& [name, settings] : known) {
    table.row({name == selected ? name + "*" : name, settings.description});
  }
  table.header({"Name", "Description"});
  print_line(table.text());
  (void)context;
  return 0;
}

int select_context(const Context& context, const Values& values, const std::string& name) {
  const Status selected = ContextStore().select(name);
  if (!selected) return fail(context.program, selected.error());
  return show_named(context, values, name);
}

int run_context_select(const Context& context, const Values& values) {
  const auto names = ContextStore().names();
  if (names.empty()) return fail(context.program, "no context defined");
  std::string name = values.text("name");
  if (name.empty()) {
    auto chosen = ask_choice("Select a Context", names);
    if (!chosen) return fail(context.program, chosen.error());
    name = std::move(*chosen);
  }
  return select_context(context, values, name);
}

int run_context_unselect(const Context& context, const Values&) {
  const ContextStore store;
  const std::string selected = store.selected();
  if (selected.empty()) {
    print_line("No context currently selected");
    return 0;
  }
  if (Status done = store.select({}); !done) return fail(context.program, done.error());
  print_line("Unselected the \"" + selected + "\" context");
  return 0;
}

int run_context_previous(const Context& context, const Values& values) {
  const ContextStore store;
  const std::string previous = store.previous();
  if (previous.empty()) return show_named(context, values, store.selected());
  return select_context(context, values, previous);
}

Status embed_files(ContextSettings& settings) {
  for (std::string* field : {&settings.creds, &settings.nkey, &settings.user_jwt, &settings.user_seed}) {
    if (field->empty() || reference_scheme(*field) != "file") continue;
    const auto bytes = resolve_reference(*field);
    if (!bytes) return bytes.error();
    *field = kEmbedded + base64_encode(*bytes);
  }
  return {};
}

int save_context(const Context& context, const Values& values, const std::string& base) {
  const ContextStore store;
  const std::string name = values.text("name");
  ContextSettings settings;
  if (!base.empty()) {
    auto loaded = store.load(base);
    if (!loaded) return fail(context.program, loaded.error());
    settings = std::move(*loaded);
  }
  expand_paths(settings);
  apply_connection_flags(values, settings);
  if (const std::string text = values.text("description"); !text.empty()) settings.description = text;
  if (values.is_on("embed")) {
    if (Status done = embed_files(settings); !done) return fail(context.program, done.error());
  }
  if (Status saved = store.save(name, settings); !saved) return fail(context.program, saved.error());
  if (values.is_on("select")) return select_context(context, values, name);
  return show_named(context, values, name);
}

int run_context_add(const Context& context, const Values& values) {
  const std::string name = values.text("name");
  return save_context(context, values, ContextStore().is_known(name) ? name : values.text("context"));
}

int run_context_copy(const Context& context, const Values& values) {
  const ContextStore store;
  const std::string source = values.text("source");
  const std::string name = values.text("name");
  if (!store.is_known(source)) return fail(context.program, "unknown context \"" + source + "\"");
  if (store.is_known(name)) return fail(context.program, "context \"" + name + "\" already exist");
  return save_context(context, values, source);
}

int run_context_edit(const Context& context, const Values& values) {
  const ContextStore store;
  const std::string name = values.text("name");
  if (!store.is_known(name)) return fail(context.program, "unknown context \"" + name + "\"");
  const auto settings = store.load(name);
  if (!settings) return fail(context.program, settings.error());
  const auto edited = edit_text(context_yaml(*settings), ".yaml");
  if (!edited) return fail(context.program, edited.error());
  auto changed = parse_context_yaml(*edited);
  if (!changed) return fail(context.program, changed.error());
  if (Status saved = store.save(name, *changed); !saved) return fail(context.program, saved.error());
  return show_named(context, values, name);
}

int run_context_remove(const Context& context, const Values& values) {
  const ContextStore store;
  const std::string name = values.text("name");
  const bool is_forced = values.is_on("force");
  if (store.selected() == name) {
    if (!is_forced) {
      return fail(context.program,
                  "cannot remove the selected context, select another one or use the unselect command");
    }
    if (Status done = store.select({}); !done) return fail(context.program, done.error());
  }
  if (!is_forced) {
    auto agreed = ask_yes("Really delete context \"" + name + "\"", false);
    if (!agreed) return fail(context.program, "could not obtain confirmation: " + agreed.error().text);
    if (!*agreed) return 0;
  }
  const Status removed = store.remove(name);
  return removed ? 0 : fail(context.program, removed.error());
}

Command context_part(const char* name, std::vector<std::string> aliases, const char* summary, std::vector<Argument> arguments,
             std::vector<Flag> flags, int (*run)(const Context&, const Values&)) {
  Command command{name, std::move(aliases), summary};
  command.arguments = std::move(arguments);
  command.flags = std::move(flags);
  command.run = run;
  return command;
}

}  // namespace

Command context_command() {
  const Flag description{"description", "Set a friendly description for this context", Kind::Text};
  const Flag select{"select", "Select the saved context as the default one"};
  const Flag embed{"embed", "Embeds credential content in the body of the context"};
  const Flag json{"json,j", "Show the list in JSON format"};
  const Flag connect{"connect", "Attempts to connect to NATS using the context while validating"};
  Command group{"context", {"ctx"}, "Manage nats configuration contexts"};
  auto& parts = group.subcommands;
  parts.push_back(context_part("add", {"create", "save"}, "Update or create a context", {{"name", "The context name to act on"}},
                       {description, select, embed}, run_context_add));
  parts.back().description =
      "  --creds, --nkey, --jwt and --seed may be\n\n"
      "  /some/path, file://path      - a file\n"
      "  op://vault/item/field        - fetched with the 1Password CLI ('op read')\n"
      "  nsc://Operator/Account/User  - a user of 'auth', or of the local 'nsc' binary\n"
      "  env://NAME                   - an environment variable\n\n"
      "  Files can also be embedded into the context with --embed";
  parts.push_back(context_part("copy", {"cp"}, "Copies an existing context",
                       {{"source", "The name of the context to copy from"}, {"name", "The name of the context to create"}},
                       {description, select, embed}, run_context_copy));
  parts.push_back(context_part("edit", {"vi"}, "Edit a context in your EDITOR", {{"name", "The context name to edit"}}, {}, run_context_edit));
  parts.push_back(context_part("ls", {"list", "l"}, "List known contexts", {},
                       {json, {"names", "List just the names of known contexts"},
                        {"completion", "Format the list for use by shell completion", Kind::Bool, "", "", "", false, true}},
                       run_context_list));
  parts.push_back(context_part("rm", {"remove"}, "Remove a context", {{"name", "The context name to remove"}},
                       {{"force,f", "Force remove without prompting"}}, run_context_remove));
  parts.push_back(context_part("select", {"switch", "set"}, "Select the default context",
                       {{"name", "The context name to select", false}}, {}, run_context_select));
  parts.push_back(context_part("unselect", {}, "Ensures that no context is the default context", {}, {}, run_context_unselect));
  parts.push_back(context_part("info", {"show", "v", "view"}, "Display information on the current or named context",
                       {{"name", "The context name to show", false}},
                       {{"json,j", "Show the context in JSON format"}, connect}, run_context_info));
  parts.push_back(context_part("validate", {}, "Validate one or all contexts",
                       {{"name", "Validate a specific context, validates all when not supplied", false}}, {connect},
                       run_context_validate));
  parts.push_back(context_part("previous", {"-"}, "Switch to the previous context", {}, {}, run_context_previous));
  return group;
}

}  // namespace brokkr::cli
