#include <algorithm>

#include "store/wal_replay.h"

namespace brokkr::store {

std::optional<FrameHeader> FrameScanner::header_at(size_t at) const {
  const std::optional<FrameHeader> header = parse_frame_header(file_.substr(at), stamp_);
  if (!header || header->lsn < next_ || header->lsn > last_) return std::nullopt;
  // Frames are numbered one by one: no more can be missing than there is room for.
  if (next_ != 0 && header->lsn - next_ > (at - at_) / kFrameHeaderBytes) return std::nullopt;
  return header;
}

std::optional<FrameScanner::Found> FrameScanner::next() {
  for (size_t at = at_; at + kFrameHeaderBytes <= file_.size(); at += 8) {
    // Most of what is searched through is zeroes or of another stamp.
    if (load_le<uint32_t>(file_.data() + at + 4) != stamp_.salt) continue;
    const std::optional<FrameHeader> header = header_at(at);
    if (!header) continue;
    Found found;
    found.header = *header;
    found.offset = at;
    found.body = file_.substr(at + kFrameHeaderBytes, header->body_bytes);
    const size_t end = at + header->frame_bytes();
    if (end <= file_.size()) {
      found.is_body_whole = frame_body_crc(header->type, (header->flags & kFrameEncrypted) != 0,
                                           found.body) == header->body_crc;
      const size_t body_end = at + kFrameHeaderBytes + header->body_bytes;
      found.is_padding_clean =
          file_.substr(body_end, end - body_end).find_first_not_of('\0') == std::string_view::npos;
    }
    at_ = std::min(end, file_.size());
    next_ = header->lsn + 1;
    return found;
  }
  return std::nullopt;
}

}  // namespace brokkr::store
