// Opening a store: catalog, log, and what neither of them names.
#include <algorithm>

#include "base/random.h"
#include "store/checkpoint.h"
#include "store/coding.h"
#include "store/store_impl.h"

namespace brokkr::store {
namespace {

// A start that finds more log files than this empties them soon after.
constexpr ptrdiff_t kLogFilesMax = 4;
constexpr Duration kShortenLog = std::chrono::milliseconds(20);

}  // namespace

// What opening needs only while it lasts.
struct Store::Impl::Opening {
  Store& store;
  std::vector<std::string> notes;
  // With a catalog put together from damaged ones: how far each stream's entry reaches.
  std::unordered_map<uint32_t, Lsn> entry_lsns;
  // Frames of streams nobody knows.
  std::map<uint32_t, uint64_t> orphans;
};

Status Store::Impl::open(Store& store) {
  Files& files_ = environment.files;
  for (const std::string& folder : {options.directory, path("wal"), path("runs")}) {
    if (Status made = files_.make_directory(folder); !made) return made;
  }
  auto locked = files_.lock(options.directory);
  if (!locked) return locked.error();
  lock = std::move(*locked);
  if (options.cipher != Cipher::None) {
    auto ring = Keyring::make(options.cipher, options.key, options.previous_key);
    if (!ring) return ring.error();
    keys = std::move(*ring);
  }
  // What is read from here on must not be taken back by a crash: a name may have been changed and not
  // synced by a process that was killed then.
  for (const std::string& folder : {options.directory, path("wal"), path("runs")}) {
    if (Status synced = files_.sync_directory(folder); !synced) return synced;
  }
  Opening opening{store, {}, {}, {}};
  if (Status recovered = recover(opening); !recovered) return recovered;
  for (const auto& [stream, count] : opening.orphans) {
    opening.notes.push_back(std::to_string(count) + " records of the log belong to stream " +
                            std::to_string(stream) + ", which nothing describes");
  }
  for (const std::string& note : opening.notes) environment.log.warn("JetStream store: " + note);
  sync_later();
  start_scrubber();
  shorten_log_later(store);
  return {};
}

// Every start begins a log file. Starts would take ever longer if one that is killed before it has
// filled its file left it to the next.
void Store::Impl::shorten_log_later(Store& store) {
  const auto entries = environment.files.list(path("wal"));
  if (!entries) return;
  const auto files_there = std::count_if(entries->begin(), entries->end(), [](const DirectoryEntry& entry) {
    return entry.name.ends_with(".wal");
  });
  if (files_there <= kLogFilesMax) return;
  environment.after(kShortenLog, [this, &store, is_alive = alive] {
    if (!*is_alive || failure != nullptr) return;
    checkpoint_waiters.push_back([](const Status&) {});
    checkpoint_if_due(store);
  });
}

Status Store::Impl::recover(Opening& opening) {
  auto image = read_newest_catalog(environment.files, options.directory, keys.get(), opening.notes);
  if (!image) return image.error();
  if (Status read = read_image(opening, *image); !read) return read;
  Wal::Options log_options;
  log_options.directory = path("wal");
  log_options.file_bytes = options.log_file_bytes;
  log_options.sync = options.sync;
  log_options.sync_interval = options.sync_interval;
  log_options.keys = keys.get();
  Wal::Events events;
  events.durable = [this](Lsn lsn) { on_durable(lsn); };
  events.closing_group = [this](std::string& note) { on_closing_group(note); };
  events.full = [this, &store = opening.store] { seek_space_later(store); };
  events.failed = [this](const Error& error) { fail(error); };
  Wal::Recovery recovery;
  // With salvaged entries each stream has a place of its own to start from.
  const Lsn from = image->is_salvaged ? 1 : image->lsn + 1;
  auto opened = Wal::open(environment.files, environment.log_executor, std::move(log_options), from,
                          [&](const Frame& frame) { apply(opening, frame); }, std::move(events),
                          environment.log, recovery);
  if (!opened) return opened.error();
  wal = std::move(*opened);
  note_log_size();
  const bool is_whole = recovery.damaged == 0 && !image->is_salvaged && !image->is_fallback &&
                        opening.orphans.empty() && opening.notes.empty();
  return settle_run_files(opening, *image, is_whole);
}

Status Store::Impl::read_image(Opening& opening, const CatalogImage& image) {
  catalog_number = image.number;
  catalog_lsn = previous_catalog_lsn = image.lsn;
  next_stream = std::max<uint32_t>(image.next_stream, 1);
  next_run_file = std::max<uint64_t>(image.next_run_file, 1);
  store_id = image.store_id;
  if (store_id.empty()) {
    store_id.resize(16);
    fill_secure({reinterpret_cast<uint8_t*>(store_id.data()), store_id.size()});
  }
  for (const CatalogEntry& entry : image.streams) {
    Decoder in(entry.bytes);
    StreamOptions stream_options;
    const bool ok = Stream::decode_options(in.text(), stream_options);
    if (!ok) return Error{Errc::Unsupported, "the catalog's entry of stream " + std::to_string(entry.stream) + " is of a kind this version does not know"};
    Stream& stream = add_stream(opening.store, entry.stream, std::move(stream_options));
    if (!stream.decode_entry(in.bytes(in.left()))) {
      return Error{Errc::Unsupported, "the catalog's entry of stream " + stream.options().name + " is of a kind this version does not know"};
    }
    if (image.is_salvaged) opening.entry_lsns[entry.stream] = entry.lsn;
  }
  for (const CatalogEntry& entry : image.consumers) {
    const auto at = by_id.find(entry.stream);
    if (at == by_id.end()) continue;
    Decoder in(entry.bytes);
    const std::string_view name = in.text();
    const std::string_view config = in.text();
    ConsumerStore& consumer = at->second->restore_consumer(static_cast<uint32_t>(entry.id), name, config);
    if (Status decoded = consumer.decode(in.bytes(in.left())); !in.ok() || !decoded) {
      return Error{Errc::Unsupported, "the catalog's entry of consumer " + std::string(name) + " is of a kind this version does not know"};
    }
  }
  return {};
}

// Makes the stream, in place of one of that name if the log lost its end.
Stream& Store::Impl::add_stream(Store& store, uint32_t id, StreamOptions stream_options) {
  Name name{stream_options.account, stream_options.name};
  if (const auto old = streams.find(name); old != streams.end()) {
    by_id.erase(old->second->id());
    streams.erase(old);
  }
  std::unique_ptr<Stream> made(new Stream(store, id, std::move(stream_options)));
  Stream& stream = *made;
  by_id[id] = &stream;
  streams.emplace(std::move(name), std::move(made));
  next_stream = std::max(next_stream, id + 1);
  return stream;
}

void Store::Impl::put_stream(Opening& opening, uint32_t id, std::string_view body) {
  StreamOptions stream_options;
  if (!Stream::decode_options(body, stream_options)) {
    opening.notes.push_back("the log describes stream " + std::to_string(id) + " in a way this version does not know");
    return;
  }
  const auto known = by_id.find(id);
  if (known == by_id.end()) {
    add_stream(opening.store, id, std::move(stream_options)).is_loaded_ = false;
    return;
  }
  Stream& stream = *known->second;
  stream.options_ = std::move(stream_options);
  stream.ids_.set_window(stream.options_.limits.duplicate_window);
}

void Store::Impl::apply(Opening& opening, const Frame& frame) {
  if (frame.type == FrameType::GroupEnd) return apply_note(opening, frame.body);
  if (const auto from = opening.entry_lsns.find(frame.stream);
      from != opening.entry_lsns.end() && frame.lsn <= from->second) {
    return;
  }
  if (frame.type == FrameType::StreamPut) return put_stream(opening, frame.stream, frame.body);
  const auto at = by_id.find(frame.stream);
  if (at == by_id.end()) {
    if (frame.type == FrameType::Append && frame.stream >= next_stream) ++opening.orphans[frame.stream];
    return;
  }
  apply_to(*at->second, frame);
}

void Store::Impl::apply_to(Stream& stream, const Frame& frame) {
  Decoder in(frame.body);
  switch (frame.type) {
    case FrameType::Append: {
      const ParsedRecord parsed = parse_record(frame.body);
      if (parsed.damage == RecordDamage::None || parsed.damage == RecordDamage::Content) {
        stream.replay_append(parsed.record, parsed.damage == RecordDamage::Content);
      }
      return;
    }
    case FrameType::Remove: return stream.replay_removed(frame.body);
    case FrameType::Purge: return stream.replay_purge(frame.body);
    case FrameType::Skip: {
      const uint64_t seq = in.varint();
      return stream.replay_skip(seq, in.signed_varint());
    }
    case FrameType::StreamDelete: {
      const Name name{stream.options().account, stream.options().name};
      forget(stream);
      streams.erase(name);
      return;
    }
    case FrameType::ConsumerPut: {
      const auto id = static_cast<uint32_t>(in.varint());
      const std::string_view name = in.text();
      stream.restore_consumer(id, name, in.text());
      return;
    }
    case FrameType::ConsumerDelete: return stream.drop_consumer(static_cast<uint32_t>(in.varint()));
    case FrameType::ConsumerDelta: {
      ConsumerStore* consumer = stream.consumer_by_id(static_cast<uint32_t>(in.varint()));
      const std::string_view delta = in.bytes(in.left());
      if (consumer == nullptr) return;
      if (Status applied = consumer->apply_delta(delta); !applied) {
        environment.log.warn("JetStream store: consumer " + consumer->name() + ": " + applied.error().text);
      }
      return;
    }
    case FrameType::Lost: return stream.replay_lost_one(in.varint());
    default: return;
  }
}

// --- what a group says of itself

void Store::Impl::on_closing_group(std::string& note) {
  put_varint(note, group_puts.size());
  for (const auto& [stream, body] : group_puts) {
    put_varint(note, stream);
    put_text(note, body);
  }
  put_varint(note, group_seqs.size());
  for (const auto& [stream, seq] : group_seqs) {
    put_varint(note, stream);
    put_varint(note, seq);
  }
  group_puts.clear();
  group_seqs.clear();
}

// Makes good for frames of the group that could not be read: a stream's description is there twice,
// and a sequence that was used is not used again.
void Store::Impl::apply_note(Opening& opening, std::string_view note) {
  Decoder in(note);
  const uint64_t puts = in.count();
  for (uint64_t i = 0; i < puts && in.ok(); ++i) {
    const auto stream = static_cast<uint32_t>(in.varint());
    const std::string_view body = in.text();
    if (in.ok() && !by_id.contains(stream)) put_stream(opening, stream, body);
  }
  const uint64_t seqs = in.count();
  for (uint64_t i = 0; i < seqs && in.ok(); ++i) {
    const auto stream = static_cast<uint32_t>(in.varint());
    const uint64_t seq = in.varint();
    const auto at = by_id.find(stream);
    if (!in.ok() || at == by_id.end() || at->second->last_seq() >= seq) continue;
    opening.notes.push_back("stream " + at->second->options().name + ": messages " +
                            std::to_string(at->second->last_seq() + 1) + " to " + std::to_string(seq) +
                            " are damaged in the log and lost");
    at->second->replay_lost(seq);
  }
}

// --- run files

// Deals with run files the catalog does not name. After a crash during a checkpoint there are some,
// and what they hold is in the log too. Otherwise nothing is thrown away: without a catalog they are
// taken in, else put aside.
Status Store::Impl::settle_run_files(Opening& opening, const CatalogImage& image, bool is_whole) {
  auto listed = environment.files.list(path("runs"));
  if (!listed) return listed.error();
  const bool has_catalog = image.number != 0 && !image.is_salvaged;
  uint64_t next_file = next_run_file;
  for (const DirectoryEntry& entry : *listed) {
    const uint64_t number = parse_run_file_name(entry.name);
    if (number == 0) {
      if (entry.name.ends_with(".tmp")) (void)environment.files.remove(path("runs/" + entry.name));
      continue;
    }
    next_file = std::max(next_file, number + 1);
    if (file_uses.contains(number)) continue;
    if (!has_catalog) {
      adopt_run_file(opening, number);
    } else if (is_whole && number >= image.next_run_file) {
      (void)environment.files.remove(path("runs/" + entry.name));
    } else if (number < image.next_run_file && is_whole) {
      // Given up before the catalog was written; it had not come to removing it.
      (void)environment.files.remove(path("runs/" + entry.name));
    } else {
      put_aside(opening, "runs/" + entry.name);
    }
  }
  next_run_file = next_file;
  return {};
}

void Store::Impl::put_aside(Opening& opening, const std::string& name) {
  const std::string base = name.substr(name.rfind('/') + 1);
  (void)environment.files.make_directory(path("lost+found"));
  Status moved = environment.files.rename(path(name), path("lost+found/" + base));
  opening.notes.push_back(moved ? name + " is named by no catalog and was moved to lost+found"
                                : name + " is named by no catalog: " + moved.error().text);
}

// Without a catalog: the streams a run file says it holds runs of.
void Store::Impl::adopt_run_file(Opening& opening, uint64_t number) {
  auto file = run_file(number);
  if (!file) {
    opening.notes.push_back(run_file_name(number) + ": " + file.error().text);
    return;
  }
  auto runs = (*file)->list_runs();
  if (!runs) {
    opening.notes.push_back(run_file_name(number) + ": " + runs.error().text);
    return;
  }
  for (auto& [owner, info] : *runs) {
    auto known = by_id.find(owner.stream);
    if (known == by_id.end()) {
      StreamOptions stream_options;
      // With a damaged footer the run still says whose it is.
      if (!Stream::decode_options(owner.config, stream_options)) {
        stream_options = {};
        stream_options.account = owner.account;
        stream_options.name = owner.name;
      }
      Stream& made = add_stream(opening.store, owner.stream, std::move(stream_options));
      made.is_loaded_ = false;
      known = by_id.find(owner.stream);
      opening.notes.push_back("stream " + made.options().name + " was found again in " + run_file_name(number));
    }
    known->second->adopt_run(info);
  }
}

Result<std::shared_ptr<RunFile>> Store::Impl::run_file(uint64_t file) {
  auto& known = files[file];
  if (known != nullptr) return known;
  auto opened = RunFile::open(environment.files, path("runs"), file, keys.get());
  if (!opened) {
    files.erase(file);
    return opened.error();
  }
  known = std::move(*opened);
  return known;
}

}  // namespace brokkr::store
