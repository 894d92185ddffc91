#include "store/run_builder.h"

#include <xxhash.h>

#include <algorithm>
#include <numeric>

#include "store/numbered_name.h"

namespace brokkr::store {
namespace {

constexpr std::string_view kRunSuffix = ".run";

}  // namespace

void RunBuilder::add(const Record& record, uint64_t position) {
  if (count() > 0 && record.seq <= last_seq()) is_ascending_ = false;
  index_.seqs.push_back(record.seq);
  index_.positions.push_back(position);
  index_.sizes.push_back(static_cast<uint32_t>(record.counted_bytes()));
  index_.subjects.push_back(intern(record.subject));
  timestamps_.push_back(record.timestamp_ns);
  if (record.expires_at != 0 && record.expires_at != kNeverExpires) {
    index_.expiries.push_back({record.expires_at, record.seq});
  }
  if (record.timestamp_ns < ids_since_ns_) return;
  if (const std::string_view text = find_message_id(record.headers); !text.empty()) {
    RunIndex::MessageId& message_id = index_.ids.emplace_back();
    hash_message_id(text, message_id.hash);
    message_id.seq = record.seq;
  }
}

uint32_t RunBuilder::intern(std::string_view subject) {
  if (const auto found = name_ids_.find(subject); found != name_ids_.end()) return found->second;
  const auto id = static_cast<uint32_t>(names_.size());
  name_ids_.emplace(names_.emplace_back(subject), id);
  return id;
}

// Blocks out of place and twice-written ones come in the wrong order.
void RunBuilder::sort_messages() {
  std::vector<uint32_t> order(index_.seqs.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto& seqs = index_.seqs;
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return seqs[a] < seqs[b]; });
  const auto is_same = [&](uint32_t a, uint32_t b) { return seqs[a] == seqs[b]; };
  order.erase(std::unique(order.begin(), order.end(), is_same), order.end());
  const auto pick = [&](auto& from) {
    std::remove_reference_t<decltype(from)> picked(order.size());
    for (size_t i = 0; i < order.size(); ++i)
      picked[i] = from[order[i]];
    from = std::move(picked);
  };
  pick(index_.positions);
  pick(index_.sizes);
  pick(index_.subjects);
  pick(timestamps_);
  pick(index_.seqs);
  const auto by_seq = [](const auto& a, const auto& b) { return a.seq < b.seq; };
  const auto equal_seq = [](const auto& a, const auto& b) { return a.seq == b.seq; };
  const auto tidy = [&](auto& list) {
    std::stable_sort(list.begin(), list.end(), by_seq);
    list.erase(std::unique(list.begin(), list.end(), equal_seq), list.end());
  };
  tidy(index_.expiries);
  tidy(index_.ids);
}

void RunBuilder::sort_names() {
  std::vector<uint32_t> order(names_.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return names_[a] < names_[b]; });
  std::vector<uint32_t> rank(names_.size());
  size_t text_bytes = 0;
  for (uint32_t i = 0; i < order.size(); ++i) {
    rank[order[i]] = i;
    text_bytes += names_[i].size();
  }
  for (uint32_t& subject : index_.subjects)
    subject = rank[subject];
  index_.text.reserve(text_bytes);
  for (const uint32_t id : order)
    index_.text.append(names_[id]);
  index_.names.resize(order.size());
  // Into the text's last place: a short one lives inside its string.
  for (size_t i = 0; i < order.size(); ++i)
    index_.names[i].text = names_[order[i]];
}

void RunBuilder::sum_up() {
  RunInfo& info = index_.info;
  info.count = count();
  if (info.count == 0) return;
  info.first_seq = index_.seqs.front();
  info.last_seq = index_.seqs.back();
  info.first_ts = timestamps_.front();
  info.last_ts = timestamps_.back();
  index_.min_ts = *std::min_element(timestamps_.begin(), timestamps_.end());
  index_.max_ts = *std::max_element(timestamps_.begin(), timestamps_.end());
  for (uint32_t i = 0; i < info.count; ++i) {
    info.bytes += index_.sizes[i];
    RunIndex::Subject& name = index_.names[index_.subjects[i]];
    if (name.count++ == 0) name.first_seq = index_.seqs[i];
    name.last_seq = index_.seqs[i];
  }
  if (info.last_seq - info.first_seq + 1 == info.count) index_.seqs.clear();
}

std::unique_ptr<RunIndex> RunBuilder::finish() {
  if (!is_ascending_) sort_messages();
  sort_names();
  sum_up();
  std::sort(index_.expiries.begin(), index_.expiries.end(), [](const auto& a, const auto& b) {
    return a.expires_at != b.expires_at ? a.expires_at < b.expires_at : a.seq < b.seq;
  });
  if (!index_.expiries.empty()) index_.info.min_expires_at = index_.expiries.front().expires_at;
  auto done = std::make_unique<RunIndex>(std::move(index_));
  size_t used = 0;
  for (RunIndex::Subject& name : done->names) {
    name.text = std::string_view(done->text).substr(used, name.text.size());
    used += name.text.size();
  }
  index_ = {};
  timestamps_.clear();
  is_ascending_ = true;
  name_ids_.clear();
  names_.clear();
  return done;
}

uint32_t RunIndex::lower_bound(uint64_t seq) const {
  if (seq <= info.first_seq) return 0;
  if (seq > info.last_seq) return info.count;
  if (seqs.empty()) return static_cast<uint32_t>(seq - info.first_seq);
  return static_cast<uint32_t>(std::lower_bound(seqs.begin(), seqs.end(), seq) - seqs.begin());
}

std::string_view find_message_id(std::string_view headers) {
  constexpr std::string_view kName = "\r\nNats-Msg-Id:";
  const size_t at = headers.find(kName);
  if (at == std::string_view::npos) return {};
  std::string_view value = headers.substr(at + kName.size());
  value = value.substr(0, value.find("\r\n"));
  const size_t start = value.find_first_not_of(' ');
  return start == std::string_view::npos ? std::string_view() : value.substr(start);
}

void hash_message_id(std::string_view id, uint64_t (&hash)[2]) {
  const XXH128_hash_t value = XXH3_128bits(id.data(), id.size());
  hash[0] = value.low64;
  hash[1] = value.high64;
}

std::string run_file_name(uint64_t file) {
  return numbered_name(file, kRunSuffix);
}
uint64_t parse_run_file_name(std::string_view name) {
  return parse_numbered_name(name, kRunSuffix);
}

}  // namespace brokkr::store
