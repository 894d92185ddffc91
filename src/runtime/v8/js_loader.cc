#include "base/bytes.h"
#include "runtime/v8/js_function.h"
#include "runtime/v8/v8_text.h"

// From source text to a handler: which form it is, and what is wrong with it.
namespace brokkr::runtime {
namespace {

Error load_error(Errc code, const FunctionSpec& spec, const ExceptionText& text) {
  const std::string& place = text.place.empty() ? spec.file_name : text.place;
  return {code, place + ": " + text.error};
}

v8::Local<v8::Array> environment_list(v8::Isolate* isolate, const FunctionSpec& spec) {
  std::vector<v8::Local<v8::Value>> values;
  for (const auto& [name, value] : spec.environment) {
    values.push_back(make_string(isolate, name));
    values.push_back(make_string(isolate, value));
  }
  return v8::Array::New(isolate, values.data(), values.size());
}

v8::MaybeLocal<v8::Module> refuse_import(v8::Local<v8::Context>, v8::Local<v8::String>,
                                         v8::Local<v8::FixedArray>, v8::Local<v8::Module>) {
  return {};
}

// The first import of a module: its place and name; empty when there is none.
std::string first_import(v8::Isolate* isolate, v8::Local<v8::Module> module,
                         const FunctionSpec& spec) {
  const v8::Local<v8::Context> context = isolate->GetCurrentContext();
  const v8::Local<v8::FixedArray> requests = module->GetModuleRequests();
  if (requests->Length() == 0) return {};
#if V8_MAJOR_VERSION >= 13
  const auto request = requests->Get(0).As<v8::ModuleRequest>();
#else
  const auto request = requests->Get(context, 0).As<v8::ModuleRequest>();
#endif
  (void)context;
  v8::Location place = module->SourceOffsetToLocation(request->GetSourceOffset());
  return spec.file_name + ":" + std::to_string(place.GetLineNumber() + 1) + ":" +
         std::to_string(place.GetColumnNumber() + 1) + ": import of \"" +
         to_text(isolate, request->GetSpecifier()) +
         "\" is not available: bundle the program into one file";
}

}  // namespace

Result<std::unique_ptr<Function>> JsFunction::load(Realm& realm, const FunctionSpec& spec,
                                                   Host& host, Clock& clock) {
  if (spec.artifact.starts_with(std::string_view("\0asm", 4))) {
    return Error{Errc::InvalidArgument, spec.file_name + ": is WebAssembly, not JavaScript"};
  }
  if (!is_valid_utf8(spec.artifact)) {
    return Error{Errc::InvalidArgument, spec.file_name + ": is not UTF-8 text"};
  }
  std::unique_ptr<JsFunction> function(new JsFunction(realm, spec, clock));
  realm.attach(spec.limits, host, clock, *function);
  if (Status status = function->compile(spec); !status) return status.error();
  return std::unique_ptr<Function>(std::move(function));
}

Status JsFunction::compile(const FunctionSpec& spec) {
  v8::Isolate* isolate = realm_.isolate();
  RunScope run(realm_);
  const v8::Local<v8::Context> context = realm_.context();
  v8::Local<v8::String> text;
  if (!try_string(isolate, spec.artifact).ToLocal(&text)) {
    return Error{Errc::LimitExceeded, spec.file_name + ": is too long for V8"};
  }
  v8::TryCatch caught(isolate);
  v8::ScriptCompiler::Source as_script(text, script_origin(isolate, spec.file_name, false));
  v8::Local<v8::Script> script;
  if (v8::ScriptCompiler::Compile(context, &as_script).ToLocal(&script)) {
    return use_script(script, spec);
  }
  const ExceptionText script_error = describe_exception(isolate, caught);
  caught.Reset();
  // Only a module may hold export, import, import.meta and await at its top.
  v8::ScriptCompiler::Source as_module(text, script_origin(isolate, spec.file_name, true));
  v8::Local<v8::Module> module;
  if (v8::ScriptCompiler::CompileModule(isolate, &as_module).ToLocal(&module)) {
    return use_module(module, spec);
  }
  const bool meant_module = script_error.error.find("'export'") != std::string::npos ||
                            script_error.error.find("a module") != std::string::npos ||
                            script_error.error.find("of modules") != std::string::npos;
  return load_error(Errc::Syntax, spec,
                    meant_module ? describe_exception(isolate, caught) : script_error);
}

Status JsFunction::use_script(v8::Local<v8::Script> script, const FunctionSpec& spec) {
  v8::Isolate* isolate = realm_.isolate();
  const v8::Local<v8::Context> context = realm_.context();
  v8::TryCatch caught(isolate);
  v8::Local<v8::Value> handler;
  if (!script->Run(context).ToLocal(&handler)) {
    return load_error(Errc::InvalidArgument, spec, describe_exception(isolate, caught));
  }
  realm_.drain_microtasks();
  v8::Local<v8::Value> arguments[3] = {handler, make_string(isolate, spec.name),
                                       environment_list(isolate, spec)};
  v8::Local<v8::Value> accepted;
  if (!realm_.entries()
           .use_expression.Get(isolate)
           ->Call(context, v8::Undefined(isolate), 3, arguments)
           .ToLocal(&accepted) ||
      !accepted->IsTrue()) {
    return Error{Errc::InvalidArgument,
                 spec.file_name + ": the file's last expression is " +
                     (handler->IsUndefined() ? "nothing"
                      : handler->IsObject()  ? "an object"
                                             : "a " + to_text(isolate, handler->TypeOf(isolate))) +
                     ", not a function (subject, payload) => ...; a module has export default"};
  }
  return {};
}

Status JsFunction::use_module(v8::Local<v8::Module> module, const FunctionSpec& spec) {
  v8::Isolate* isolate = realm_.isolate();
  const v8::Local<v8::Context> context = realm_.context();
  v8::TryCatch caught(isolate);
  if (std::string text = first_import(isolate, module, spec); !text.empty()) {
    return Error{Errc::Unsupported, std::move(text)};
  }
  v8::Local<v8::Value> evaluated;
  if (!module->InstantiateModule(context, refuse_import).FromMaybe(false) ||
      !module->Evaluate(context).ToLocal(&evaluated)) {
    return load_error(Errc::InvalidArgument, spec, describe_exception(isolate, caught));
  }
  if (evaluated->IsPromise()) {
    const auto promise = evaluated.As<v8::Promise>();
    promise->MarkAsHandled();
    realm_.drain_microtasks();
    if (promise->State() == v8::Promise::kRejected) {
      ExceptionText text = describe_value(isolate, promise->Result());
      if (!text.stack.empty()) text.error += "\n" + text.stack;
      return load_error(Errc::InvalidArgument, spec, text);
    }
    if (promise->State() == v8::Promise::kPending) {
      return Error{Errc::Unsupported,
                   spec.file_name + ": the module's top-level await does not settle"};
    }
  }
  is_module_ = true;
  v8::Local<v8::Value> exported;
  if (!module->GetModuleNamespace()
           .As<v8::Object>()
           ->Get(context, make_name(isolate, "default"))
           .ToLocal(&exported)) {
    exported = v8::Undefined(isolate);
  }
  v8::Local<v8::Value> arguments[3] = {exported, make_string(isolate, spec.name),
                                       environment_list(isolate, spec)};
  v8::Local<v8::Value> problem;
  if (!realm_.entries()
           .use_module.Get(isolate)
           ->Call(context, v8::Undefined(isolate), 3, arguments)
           .ToLocal(&problem)) {
    return load_error(Errc::InvalidArgument, spec, describe_exception(isolate, caught));
  }
  const std::string text = to_text(isolate, problem);
  if (!text.empty()) return Error{Errc::InvalidArgument, spec.file_name + ": " + text};
  return {};
}

}  // namespace brokkr::runtime
