#include "runtime/v8/realm.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include <libplatform/libplatform.h>

#include "base/random.h"
#include "runtime/v8/error_text.h"
#include "runtime/v8/ops.h"
#include "runtime/v8/prelude_source.h"
#include "runtime/v8/v8_text.h"

namespace brokkr::runtime {
namespace {

// The heap V8 is given at its start; a function's own limit is applied when it is loaded.
constexpr size_t kFirstHeapBytes = 64U << 20;
// What a stopped function may still allocate while its code unwinds.
constexpr size_t kHeapHeadroomBytes = 32U << 20;
// What JavaScript may use of the stack: String.fromCharCode(...payload) takes 8 bytes a byte. Not
// more, because a runaway recursion makes all of it resident, and JSON.stringify of a nested object
// takes time by the square of its depth.
constexpr size_t kStackBytesMax = 16U << 20;
// Kept for native code below JavaScript's limit.
constexpr size_t kStackReserveBytes = 1U << 20;

Realm* the_realm = nullptr;

#if V8_MAJOR_VERSION >= 11
[[noreturn]] void on_out_of_memory(const char*, const v8::OOMDetails&) {
#else
[[noreturn]] void on_out_of_memory(const char*, bool) {
#endif
  // V8 aborts when this returns. Whoever waits is answered, and nothing of V8 runs again.
  if (the_realm != nullptr && the_realm->target() != nullptr) the_realm->target()->on_heap_lost();
  _exit(kOutOfMemoryExitStatus);
}

// The lowest address this thread's stack may reach.
uintptr_t lowest_stack_address() {
  const uintptr_t here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  if (gettid() == getpid()) {
    // The main thread's stack grows on demand up to the soft limit, so the limit can be raised in
    // place; the kernel leaves at least 128 MiB below the stack free for it.
    rlimit limit{};
    getrlimit(RLIMIT_STACK, &limit);
    constexpr size_t kWanted = kStackBytesMax + 2 * kStackReserveBytes;
    if (limit.rlim_cur < kWanted && limit.rlim_max >= kWanted) {
      limit.rlim_cur = kWanted;
      setrlimit(RLIMIT_STACK, &limit);
      getrlimit(RLIMIT_STACK, &limit);
    }
    return here - std::min<size_t>(limit.rlim_cur, kWanted) + 2 * kStackReserveBytes;
  }
  pthread_attr_t attributes;
  void* low = nullptr;
  size_t bytes = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return here - (512U << 10);
  pthread_attr_getstack(&attributes, &low, &bytes);
  pthread_attr_destroy(&attributes);
  const uintptr_t lowest = reinterpret_cast<uintptr_t>(low) + std::min(bytes / 4, kStackReserveBytes);
  return std::max(lowest, here - kStackBytesMax);
}

v8::Platform* start_v8() {
  // One thread only: a process with threads cannot be forked. Flags may change later (the limit of
  // WebAssembly memory is a flag), which newer versions must be told.
  v8::V8::SetFlagsFromString("--single-threaded");
#if V8_MAJOR_VERSION >= 11
  v8::V8::SetFlagsFromString("--no-freeze-flags-after-init");
#endif
  v8::Platform* platform = v8::platform::NewSingleThreadedDefaultPlatform().release();
  v8::V8::InitializePlatform(platform);
  v8::V8::Initialize();
  return platform;
}

}  // namespace

MemoryBudget Realm::budget_;

Result<Realm*> Realm::open() {
  if (the_realm != nullptr) return the_realm;
  v8::Platform* platform = start_v8();
  v8::Isolate::CreateParams parameters;
  parameters.array_buffer_allocator = &budget_;
  parameters.constraints.ConfigureDefaultsFromHeapSize(0, kFirstHeapBytes);
  v8::Isolate* isolate = v8::Isolate::New(parameters);
  isolate->Enter();
  auto* realm = new Realm(isolate, platform);
  if (Status status = realm->run_prelude(); !status) return status.error();
  the_realm = realm;
  return realm;
}

Realm::Realm(v8::Isolate* isolate, v8::Platform* platform)
    : isolate_(isolate), platform_(platform), gate_(isolate), origin_(system_clock_.now()) {
  isolate_->SetData(0, this);
  isolate_->SetMicrotasksPolicy(v8::MicrotasksPolicy::kExplicit);
  isolate_->SetCaptureStackTraceForUncaughtExceptions(true, 20);
  isolate_->SetPromiseRejectCallback(on_rejection);
  isolate_->SetOOMErrorHandler(on_out_of_memory);
  isolate_->AddNearHeapLimitCallback(on_near_heap_limit, this);
  isolate_->AddGCEpilogueCallback(on_collected, this, v8::kGCTypeMarkSweepCompact);
  set_stack_limit();
  v8::HandleScope handles(isolate_);
  context_.Reset(isolate_, v8::Context::New(isolate_));
}

void Realm::set_stack_limit() { isolate_->SetStackLimit(lowest_stack_address()); }

Status Realm::run_prelude() {
  v8::HandleScope handles(isolate_);
  const v8::Local<v8::Context> context = this->context();
  v8::Context::Scope scope(context);
  v8::TryCatch caught(isolate_);
  v8::Local<v8::String> text;
  const std::string_view source = prelude_source();
  if (!v8::String::NewFromOneByte(isolate_, reinterpret_cast<const uint8_t*>(source.data()),
                                  v8::NewStringType::kNormal, static_cast<int>(source.size()))
           .ToLocal(&text)) {
    return Error{Errc::Corrupt, "prelude: not a V8 string"};
  }
  v8::ScriptCompiler::Source unit(text, script_origin(isolate_, "brokkr:prelude", false));
  v8::Local<v8::String> parameter = make_name(isolate_, "__ops");
  v8::Local<v8::Function> prelude;
#if V8_MAJOR_VERSION >= 12
  const bool compiled =
      v8::ScriptCompiler::CompileFunction(context, &unit, 1, &parameter).ToLocal(&prelude);
#else
  const bool compiled =
      v8::ScriptCompiler::CompileFunctionInContext(context, &unit, 1, &parameter, 0, nullptr)
          .ToLocal(&prelude);
#endif
  v8::Local<v8::Value> ops = make_ops(*this);
  if (!compiled || prelude->Call(context, v8::Undefined(isolate_), 1, &ops).IsEmpty()) {
    return Error{Errc::Corrupt, "prelude: " + describe_exception(isolate_, caught).error};
  }
  if (entries_.call_expression.IsEmpty()) return Error{Errc::Corrupt, "prelude: no entries"};
  reseed();
  return {};
}

void Realm::reseed() {
  v8::HandleScope handles(isolate_);
  const v8::Local<v8::Context> context = this->context();
  v8::Context::Scope scope(context);
  uint32_t seeds[4];
  fill_secure({reinterpret_cast<uint8_t*>(seeds), sizeof seeds});
  v8::Local<v8::Value> arguments[4];
  for (int i = 0; i < 4; ++i) arguments[i] = v8::Integer::NewFromUnsigned(isolate_, seeds[i]);
  CHECK(!entries_.reseed.Get(isolate_)
             ->Call(context, v8::Undefined(isolate_), 4, arguments)
             .IsEmpty());
}

void Realm::attach(const FunctionLimits& limits, Host& host, Clock& clock, SettleTarget& target) {
  host_ = &host;
  clock_ = &clock;
  target_ = &target;
  origin_ = clock.now();
  time_origin_ms_ =
      std::chrono::duration<double, std::milli>(clock.wall_now().time_since_epoch()).count();
  heap_bytes_max_ = limits.heap_bytes_max;
  budget_.set_limit(limits.heap_bytes_max);
  const uint64_t pages = std::clamp<uint64_t>(limits.heap_bytes_max >> 16, 1, 65536);
  v8::V8::SetFlagsFromString(("--wasm-max-mem-pages=" + std::to_string(pages)).c_str());
}

void Realm::detach() {
  host_ = nullptr;
  clock_ = &system_clock_;
  target_ = nullptr;
  rejections_.clear();
}

double Realm::now_ms() const {
  return std::chrono::duration<double, std::milli>(clock_->now() - origin_).count();
}

MonotonicTime Realm::time_at(double ms) const {
  // Rounded up, so that the timer is due when the loop wakes at this time.
  return origin_ + Duration(static_cast<int64_t>(std::ceil(ms * 1e6)) + 1);
}

void Realm::set_current_invocation(uint64_t id) {
  const v8::Local<v8::Value> value = id == 0
      ? v8::Undefined(isolate_).As<v8::Value>()
      : v8::BigInt::NewFromUnsigned(isolate_, id).As<v8::Value>();
  context()->SetContinuationPreservedEmbedderData(value);
}

uint64_t Realm::current_invocation() const {
  v8::HandleScope handles(isolate_);
  const auto value =
      context_.Get(isolate_)->GetContinuationPreservedEmbedderData();
  return value->IsBigInt() ? value.As<v8::BigInt>()->Uint64Value() : 0;
}

void Realm::drain_microtasks() {
  isolate_->PerformMicrotaskCheckpoint();
  if (!rejections_.empty()) report_rejections();
}

void Realm::pump_platform() {
  while (v8::platform::PumpMessageLoop(platform_, isolate_)) {
  }
}

void Realm::report_rejections() {
  v8::HandleScope handles(isolate_);
  const v8::Local<v8::Context> context = this->context();
  std::vector<Rejection> rejections = std::move(rejections_);
  rejections_.clear();
  for (Rejection& rejection : rejections) {
    v8::TryCatch caught(isolate_);
    v8::Local<v8::Value> arguments[2] = {make_string(isolate_, "Uncaught (in promise)"),
                                         rejection.reason.Get(isolate_)};
    if (entries_.report_uncaught.Get(isolate_)
            ->Call(context, v8::Undefined(isolate_), 2, arguments)
            .IsEmpty() &&
        caught.HasTerminated()) {
      return;
    }
  }
}

void Realm::on_rejection(v8::PromiseRejectMessage message) {
  v8::Isolate* isolate = v8::Isolate::GetCurrent();
  Realm& realm = of(isolate);
  const v8::Local<v8::Promise> promise = message.GetPromise();
  if (message.GetEvent() == v8::kPromiseRejectWithNoHandler) {
    constexpr size_t kRejectionsMax = 100;
    if (realm.rejections_.size() >= kRejectionsMax) return;
    realm.rejections_.push_back({v8::Global<v8::Promise>(isolate, promise),
                                 v8::Global<v8::Value>(isolate, message.GetValue())});
  } else if (message.GetEvent() == v8::kPromiseHandlerAddedAfterReject) {
    std::erase_if(realm.rejections_, [&](Rejection& r) { return r.promise == promise; });
  }
}

size_t Realm::on_near_heap_limit(void* self, size_t current, size_t) {
  auto* realm = static_cast<Realm*>(self);
  if (current < realm->heap_bytes_max_) return realm->heap_bytes_max_;
  realm->on_heap_exceeded();
  return current + kHeapHeadroomBytes;
}

void Realm::on_collected(v8::Isolate* isolate, v8::GCType, v8::GCCallbackFlags, void* self) {
  auto* realm = static_cast<Realm*>(self);
  realm->uncounted_instances_ = 0;
  // V8's own limit cannot be lowered once the heap exists.
  if (realm->heap_bytes_max_ >= kFirstHeapBytes || !realm->gate_.is_running()) return;
  v8::HeapStatistics statistics;
  isolate->GetHeapStatistics(&statistics);
  if (statistics.used_heap_size() > realm->heap_bytes_max_) realm->on_heap_exceeded();
}

void Realm::on_heap_exceeded() {
  heap_exceeded_ = true;
  isolate_->TerminateExecution();
}

void Realm::uncount_external(size_t bytes) {
  // V8 compares its count only with what it was at the last collection, so it may drift below zero.
  ++uncounted_instances_;
  isolate_->AdjustAmountOfExternalAllocatedMemory(-static_cast<int64_t>(bytes));
}

bool Realm::take_heap_exceeded() {
  if (!heap_exceeded_) return false;
  heap_exceeded_ = false;
  isolate_->LowMemoryNotification();
  isolate_->RemoveNearHeapLimitCallback(on_near_heap_limit,
                                        std::max(heap_bytes_max_, kFirstHeapBytes));
  isolate_->AddNearHeapLimitCallback(on_near_heap_limit, this);
  return true;
}

}  // namespace brokkr::runtime
