#include "runtime/v8/error_text.h"

#include "runtime/v8/realm.h"
#include "runtime/v8/v8_text.h"

namespace brokkr::runtime {
namespace {

constexpr size_t kErrorBytesMax = 4096;
constexpr size_t kTraceBytesMax = 16384;

std::string first_line(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  if (text.size() > kErrorBytesMax) {
    text.resize(kErrorBytesMax);
    // Not in the middle of a character.
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xc0) == 0x80) text.pop_back();
    if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xc0) text.pop_back();
    text += "...";
  }
  return text;
}

// Frames of the prelude tell a function's author nothing.
std::string without_prelude(const std::string& stack) {
  std::string out;
  size_t at = 0;
  while (at < stack.size() && out.size() < kTraceBytesMax) {
    size_t end = stack.find('\n', at);
    if (end == std::string::npos) end = stack.size();
    const std::string_view line(stack.data() + at, end - at);
    if (line.find("brokkr:prelude") == std::string_view::npos) {
      if (!out.empty()) out += '\n';
      out += line;
    }
    at = end + 1;
  }
  return out;
}

// "Error: text" without running the value's own toString where it is no Error.
std::string name_value(v8::Isolate* isolate, v8::Local<v8::Value> value) {
  v8::TryCatch inner(isolate);
  if (value->IsNativeError() || !value->IsObject()) {
    if (value->IsSymbol()) {
      v8::Local<v8::String> text;
      if (value->ToDetailString(isolate->GetCurrentContext()).ToLocal(&text)) {
        std::string out;
        append_utf8(isolate, text, out);
        return out;
      }
    }
    std::string out = to_text(isolate, value);
    if (!inner.HasCaught()) return out;
    return "an Error that cannot be shown";
  }
  std::string out = to_text(isolate, value);
  if (!inner.HasCaught() && out != "[object Object]") return out;
  if (inner.HasTerminated()) return "terminated";
  inner.Reset();
  v8::Local<v8::String> json;
  if (v8::JSON::Stringify(isolate->GetCurrentContext(), value).ToLocal(&json)) {
    out.clear();
    append_utf8(isolate, json, out);
    return out;
  }
  return "[object Object]";
}

std::string stack_of(v8::Isolate* isolate, v8::Local<v8::Value> value) {
  if (!value->IsNativeError()) return {};
  v8::TryCatch inner(isolate);
  v8::Local<v8::Value> stack;
  if (!value.As<v8::Object>()
           ->Get(isolate->GetCurrentContext(), make_name(isolate, "stack"))
           .ToLocal(&stack) ||
      !stack->IsString()) {
    return {};
  }
  std::string out;
  append_utf8(isolate, stack.As<v8::String>(), out);
  return without_prelude(out);
}

bool is_range_error(v8::Isolate* isolate, v8::Local<v8::Value> value) {
  if (!value->IsNativeError()) return false;
  v8::TryCatch inner(isolate);
  v8::Local<v8::Value> name;
  return value.As<v8::Object>()
             ->Get(isolate->GetCurrentContext(), make_name(isolate, "name"))
             .ToLocal(&name) &&
         name->IsString() && name->StrictEquals(make_name(isolate, "RangeError"));
}

std::string place_of(v8::Isolate* isolate, v8::Local<v8::Message> message) {
  if (message.IsEmpty()) return {};
  const v8::Local<v8::Context> context = isolate->GetCurrentContext();
  const v8::Local<v8::Value> file = message->GetScriptResourceName();
  const int line = message->GetLineNumber(context).FromMaybe(0);
  if (!file->IsString() || line == 0) return {};
  std::string out = to_text(isolate, file);
  if (out == "brokkr:prelude") return {};
  return out + ":" + std::to_string(line) + ":" +
         std::to_string(message->GetStartColumn(context).FromMaybe(0) + 1);
}

}  // namespace

ExceptionText describe_value(v8::Isolate* isolate, v8::Local<v8::Value> value) {
  ExceptionText text;
  // Each step may run the value's own code; one stop must end them all.
  const Realm& realm = Realm::of(isolate);
  text.error = first_line(name_value(isolate, value));
  if (!realm.is_interrupted()) text.stack = stack_of(isolate, value);
  if (!realm.is_interrupted()) text.is_range_error = is_range_error(isolate, value);
  return text;
}

ExceptionText describe_exception(v8::Isolate* isolate, v8::TryCatch& caught) {
  if (!caught.HasCaught()) return {"no exception", {}, {}};
  if (caught.HasTerminated() || caught.Exception().IsEmpty()) return {"terminated", {}, {}};
  ExceptionText text = describe_value(isolate, caught.Exception());
  text.place = place_of(isolate, caught.Message());
  if (text.stack.empty() && !text.place.empty()) text.stack = text.error + "\n    at " + text.place;
  return text;
}

}  // namespace brokkr::runtime
