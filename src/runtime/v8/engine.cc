#include "runtime/engine.h"

#include <v8.h>

#include "runtime/v8/js_function.h"
#include "runtime/v8/realm.h"
#include "runtime/v8/wasm_function.h"

namespace brokkr::runtime {
namespace {

class V8Engine final : public Engine {
 public:
  std::string version() const override { return std::string("V8 ") + v8::V8::GetVersion(); }

  Status prepare(bool warm) override {
    // Loading and relocating the library is all that can be shared without a started V8.
    if (!warm) return {};
    Result<Realm*> realm = Realm::open();
    if (!realm) return realm.error();
    realm_ = *realm;
    warm_up();
    return {};
  }

  Status after_fork() override {
    if (realm_ != nullptr) realm_->reseed();
    return {};
  }

  Result<std::unique_ptr<Function>> load(const FunctionSpec& spec, Host& host,
                                         Clock& clock) override {
    if (realm_ == nullptr) {
      Result<Realm*> realm = Realm::open();
      if (!realm) return realm.error();
      realm_ = *realm;
    }
    if (spec.kind == FunctionKind::Wasm) return WasmFunction::load(*realm_, spec, host, clock);
    return JsFunction::load(*realm_, spec, host, clock);
  }

 private:
  struct SilentHost final : Host {
    void log(LogStream, std::string_view) override {}
    HostReply call(const HostCall&) override { return {501, "warming up", {}, {}, {}}; }
    uint64_t start_call(const HostCall&) override { return 0; }
  };
  struct SilentSink final : OutcomeSink {
    void on_outcome(uint64_t, Outcome&&) override {}
  };

  // Runs the common path once, so that every instance finds it compiled, then leaves as small a
  // heap as there can be for the children to share.
  void warm_up() {
    FunctionSpec spec;
    spec.name = spec.file_name = "warm-up";
    spec.artifact = "(subject, payload) => { console.log(subject); return {text: 'a', payload}; }";
    SilentHost host;
    SilentSink sink;
    SystemClock clock;
    {
      Result<std::unique_ptr<Function>> function = JsFunction::load(*realm_, spec, host, clock);
      if (!function) return;
      for (uint64_t i = 1; i <= 4; ++i) (*function)->invoke({i, "warm.up", {}, {}, "text"}, sink);
      (*function)->trim();
    }
  }

  Realm* realm_ = nullptr;
};

}  // namespace
}  // namespace brokkr::runtime

extern "C" __attribute__((visibility("default"))) brokkr::runtime::Engine* brokkr_open_engine() {
  static auto* engine = new brokkr::runtime::V8Engine;
  return engine;
}
