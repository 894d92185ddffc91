#pragma once

#include "base/json.h"

namespace brokkr::jetstream {

class Stream;

// The mirror or the sources of one stream. Loop-confined; part of its stream.
class Sources {
 public:
  explicit Sources(Stream& stream);
  ~Sources();
  // After construction and every change of the stream's configuration.
  void configure();
  // The members "mirror" and "sources" of a StreamInfo.
  void write_info(json::Writer& out);

 private:
  Stream& stream_;
};

}  // namespace brokkr::jetstream
