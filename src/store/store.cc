#include "store/store.h"

#include <algorithm>
#include <utility>

#include "store/checkpoint.h"
#include "store/coding.h"
#include "store/store_impl.h"

namespace brokkr::store {

Store::Impl::Impl(Options opts, Environment env)
    : options(std::move(opts)), environment(std::move(env)) {}

Store::Impl::~Impl() = default;

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Store::~Store() {
  *impl_->alive = false;
  impl_->scrubber.reset();
  // Streams release their files on the way down.
  impl_->checkpoint.reset();
  impl_->by_id.clear();
  impl_->streams.clear();
}

Result<std::unique_ptr<Store>> Store::open(Options options, Environment environment) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(environment));
  std::unique_ptr<Store> store(new Store(std::move(impl)));
  if (store->impl_->options.directory.empty()) return store;
  if (Status opened = store->impl_->open(*store); !opened) return opened.error();
  return store;
}

Clock& Store::clock() const { return impl_->environment.clock; }

// --- streams

Result<Stream*> Store::create_stream(StreamOptions options) {
  if (find_stream(options.account, options.name) != nullptr) {
    return Error{Errc::AlreadyExists, "stream " + options.name + " exists"};
  }
  if (Status ready = can_append(); !ready) return ready.error();
  Impl::Name name{options.account, options.name};
  const uint32_t id = impl_->next_stream++;
  std::unique_ptr<Stream> stream(new Stream(*this, id, std::move(options)));
  Stream* const made = stream.get();
  impl_->streams.emplace(std::move(name), std::move(stream));
  impl_->by_id.emplace(id, made);
  std::string body;
  made->encode_options(body);
  impl_->log(FrameType::StreamPut, id, body);
  return made;
}

Stream* Store::find_stream(std::string_view account, std::string_view name) {
  const auto at = impl_->streams.find({std::string(account), std::string(name)});
  return at == impl_->streams.end() ? nullptr : at->second.get();
}

void Store::delete_stream(Stream& stream) {
  const auto at = impl_->streams.find({stream.options().account, stream.options().name});
  CHECK(at != impl_->streams.end() && at->second.get() == &stream);
  impl_->log(FrameType::StreamDelete, stream.id(), {});
  impl_->forget(stream);
  impl_->deleted.push_back(std::move(at->second));
  impl_->streams.erase(at);
}

// Nothing refers to the stream by its id any more.
void Store::Impl::forget(Stream& stream) {
  group_seqs.erase(stream.id());
  group_puts.erase(stream.id());
  stream.set_observer(nullptr);
  for (const SealedSegment& segment : stream.sealed_) release_file(segment.info.file);
  stream.sealed_.clear();
  std::erase(touched, &stream);
  std::erase(touched_now, &stream);
  by_id.erase(stream.id());
}

std::vector<Stream*> Store::streams() {
  std::vector<Stream*> out;
  out.reserve(impl_->streams.size());
  for (const auto& [name, stream] : impl_->streams) out.push_back(stream.get());
  return out;
}

Store::Usage Store::usage() const {
  Usage usage;
  for (const auto& [name, stream] : impl_->streams) {
    (stream->options().storage == Storage::File ? usage.file_bytes : usage.memory_bytes) +=
        stream->bytes();
    usage.consumers += stream->consumers().size();
  }
  usage.streams = impl_->streams.size();
  return usage;
}

// --- turns and durability

Lsn Store::Impl::log(FrameType type, uint32_t stream, std::string_view body) {
  if (wal == nullptr) return 0;
  if (type == FrameType::StreamPut) group_puts[stream] = std::string(body);
  return wal->append(type, stream, {body});
}

bool Store::has_uncommitted() const {
  return !impl_->touched.empty() || !impl_->consumer_queue.empty() || !impl_->deleted.empty() ||
         (impl_->wal != nullptr && impl_->wal->has_uncommitted());
}

bool Store::needs_commit() const {
  // The log may have taken its last group by itself, after which nobody else begins what is wanted.
  const bool may_begin_checkpoint = impl_->checkpoint == nullptr && impl_->failure == nullptr && !impl_->is_retrying;
  if (!impl_->checkpoint_waiters.empty() && may_begin_checkpoint) return true;
  if (!has_uncommitted()) return false;
  const bool is_touched =
      !impl_->touched.empty() || !impl_->consumer_queue.empty() || !impl_->deleted.empty();
  return is_touched || impl_->wal->appended() != impl_->handed_over;
}

void Store::commit() {
  if (impl_->is_committing) return;
  impl_->is_committing = true;
  impl_->log_consumers();
  std::swap(impl_->touched, impl_->touched_now);
  std::vector<Stream*>& touched = impl_->touched_now;
  for (Stream* stream : touched) {
    stream->is_touched_ = false;
    if (!stream->is_logged()) continue;
    stream->flush_removed();
    impl_->group_seqs[stream->id()] = stream->last_seq();
  }
  if (impl_->wal != nullptr) {
    impl_->close_group();
    impl_->handed_over = impl_->wal->appended();
  }
  impl_->show_unlogged();
  touched.clear();
  impl_->deleted.clear();
  impl_->is_committing = false;
  if (impl_->wal == nullptr) return;
  impl_->note_log_size();
  if (!impl_->erasures.empty() && impl_->checkpoint == nullptr) impl_->erase_when_durable(*this);
  impl_->watch_free_bytes(*this);
  impl_->checkpoint_if_due(*this);
}

void Store::Impl::log_consumers() {
  for (ConsumerStore* consumer : consumer_queue) {
    scratch.clear();
    put_varint(scratch, consumer->id());
    const size_t head = scratch.size();
    consumer->take_delta(scratch);
    if (scratch.size() > head) log(FrameType::ConsumerDelta, consumer->stream().id(), scratch);
  }
  consumer_queue.clear();
}

// Hands the group to the log; what it made visible is shown once it is durable.
void Store::Impl::close_group() {
  const Lsn lsn = wal->appended();
  for (Stream* stream : touched_now) {
    if (stream->is_logged() && !stream->options().async_persist &&
        stream->visible_seq() < stream->last_seq()) {
      unseen.push_back({lsn, stream->id(), stream->last_seq()});
    }
  }
  wal->commit();
}

// Streams that wait for nothing show what they got in this turn.
void Store::Impl::show_unlogged() {
  for (size_t i = 0; i < touched_now.size(); ++i) {
    Stream& stream = *touched_now[i];
    if (stream.is_logged() && !stream.options().async_persist) continue;
    if (stream.visible_seq_ >= stream.last_seq_) continue;
    stream.visible_seq_ = stream.last_seq_;
    if (stream.observer_ != nullptr) stream.observer_->on_visible(stream.visible_seq_);
  }
}

void Store::Impl::on_durable(Lsn lsn) {
  while (!unseen.empty() && unseen.front().lsn <= lsn) {
    const Unseen next = unseen.front();
    unseen.pop_front();
    const auto at = by_id.find(next.stream);
    if (at == by_id.end() || at->second->visible_seq_ >= next.seq) continue;
    Stream& stream = *at->second;
    stream.visible_seq_ = next.seq;
    if (stream.observer_ != nullptr) stream.observer_->on_visible(next.seq);
  }
  while (!waiters.empty() && waiters.front().lsn <= lsn) {
    const Callback<void()> done = std::move(waiters.front().done);
    waiters.pop_front();
    done();
  }
}

Lsn Store::appended() const { return impl_->wal == nullptr ? 0 : impl_->wal->appended(); }

Lsn Store::durable() const { return impl_->wal == nullptr ? 0 : impl_->wal->durable(); }

void Store::when_durable(Callback<void()> done, Callback<void()> failed) {
  // What is gathered per turn is not in the log yet.
  const bool is_pending = impl_->wal != nullptr &&
                          (appended() > durable() || !impl_->touched.empty() || !impl_->consumer_queue.empty());
  if (!is_pending) {
    done();
    return;
  }
  impl_->log_consumers();
  for (Stream* stream : impl_->touched) {
    if (stream->is_logged()) stream->flush_removed();
  }
  if (appended() <= durable()) {
    done();
    return;
  }
  if (impl_->failure != nullptr) {
    if (failed) failed();
    return;
  }
  impl_->waiters.push_back({appended(), std::move(done), std::move(failed)});
}

const Error* Store::failure() const { return impl_->failure.get(); }

void Store::on_failure(Callback<void(const Error&)> callback) { impl_->failed = std::move(callback); }

void Store::Impl::fail(const Error& error) {
  if (failure != nullptr) return;
  failure = std::make_unique<Error>(error);
  environment.log.error("JetStream storage has failed and takes no more writes: " + error.text);
  if (failed) failed(error);
  const std::deque<Waiter> waiting = std::exchange(waiters, {});
  for (const Waiter& waiter : waiting) {
    if (waiter.failed) waiter.failed();
  }
}

Status Store::can_append() const {
  if (impl_->wal == nullptr) return {};
  if (impl_->failure != nullptr) return Error{Errc::Unavailable, impl_->failure->text};
  if (impl_->wal->is_full() || impl_->is_short_of_space || impl_->is_over_log_limit) {
    return Error{Errc::OutOfSpace, "no space left for messages"};
  }
  if (impl_->wal->is_busy()) return Error{Errc::Unavailable, "too much waits for the disk"};
  return {};
}

void Store::close(Callback<void()> done) {
  commit();
  if (impl_->wal == nullptr || impl_->failure != nullptr) {
    done();
    return;
  }
  checkpoint([finished = std::move(done)](const Status&) { finished(); });
}

}  // namespace brokkr::store
