#include "protocol/connect_options.h"

#include <limits>

#include "base/bytes.h"
#include "base/json.h"

namespace brokkr::protocol {
namespace {

struct TextField {
  std::string_view name;
  std::string ConnectOptions::*member;
};
struct FlagField {
  std::string_view name;
  bool ConnectOptions::*member;
};

constexpr TextField kTextFields[] = {
    {"jwt", &ConnectOptions::jwt},
    {"nkey", &ConnectOptions::nkey},
    {"sig", &ConnectOptions::sig},
    {"user", &ConnectOptions::user},
    {"pass", &ConnectOptions::pass},
    {"auth_token", &ConnectOptions::auth_token},
    {"name", &ConnectOptions::name},
    {"lang", &ConnectOptions::lang},
    {"version", &ConnectOptions::version},
    {"account", &ConnectOptions::account},
    {"remote_account", &ConnectOptions::remote_account},
    {"proxy_sig", &ConnectOptions::proxy_sig},
};

constexpr FlagField kFlagFields[] = {
    {"verbose", &ConnectOptions::verbose},
    {"pedantic", &ConnectOptions::pedantic},
    {"tls_required", &ConnectOptions::tls_required},
    {"echo", &ConnectOptions::echo},
    {"headers", &ConnectOptions::headers},
    {"no_responders", &ConnectOptions::no_responders},
    {"new_account", &ConnectOptions::new_account},
};

template <typename Field, size_t kCount>
const Field* find_field(const Field (&fields)[kCount], std::string_view name) {
  for (const Field& field : fields) {
    if (equals_ignore_case(field.name, name)) return &field;
  }
  return nullptr;
}

// False when the value is of the wrong type.
bool read_member(const std::string& name, const json::Value& value, ConnectOptions& options) {
  if (value.is_null()) return true;
  if (const TextField* text = find_field(kTextFields, name)) {
    if (!value.is_string()) return false;
    options.*text->member = value.as_string();
  } else if (const FlagField* flag = find_field(kFlagFields, name)) {
    if (!value.is_bool()) return false;
    options.*flag->member = value.as_bool().value_or(false);
  } else if (equals_ignore_case(name, "protocol")) {
    const auto number = value.as_int();
    if (value.kind() == json::Value::Kind::Double || !number) return false;
    // What is no int is no protocol either: the broker refuses any but 0 and 1.
    options.protocol = *number < 0 || *number > std::numeric_limits<int>::max()
                           ? -1
                           : static_cast<int>(*number);
  } else if (equals_ignore_case(name, "import") || equals_ignore_case(name, "export")) {
    return value.is_object();  // permissions of another kind of connection
  }
  return true;
}

}  // namespace

Status parse_connect(std::string_view text, ConnectOptions& options) {
  const auto parsed = json::parse(text);
  if (!parsed) return parsed.error();
  if (parsed->is_null()) return {};
  if (!parsed->is_object()) return Error{Errc::Syntax, "connect options are no object"};
  for (const auto& [name, value] : parsed->members()) {
    if (!read_member(name, value, options)) {
      return Error{Errc::Syntax, "connect option \"" + name + "\" has the wrong type"};
    }
  }
  return {};
}

std::string make_connect(const ConnectOptions& options) {
  json::Writer writer;
  writer.begin_object();
  writer.field("verbose", options.verbose).field("pedantic", options.pedantic);
  for (const TextField& field : kTextFields) {
    const std::string& value = options.*field.member;
    const bool is_always_sent = field.name == "name" || field.name == "lang" ||
                                field.name == "version";
    if (is_always_sent || !value.empty()) writer.field(field.name, value);
  }
  writer.field("tls_required", options.tls_required);
  writer.field("protocol", options.protocol);
  writer.field("echo", options.echo);
  writer.field("headers", options.headers);
  writer.field("no_responders", options.no_responders);
  writer.end_object();
  return writer.take();
}

}  // namespace brokkr::protocol
