#include "jetstream/sources.h"

#include "jetstream/stream.h"

namespace brokkr::jetstream {

Sources::Sources(Stream& stream) : stream_(stream) {}
Sources::~Sources() = default;
void Sources::configure() {}
void Sources::write_info(json::Writer&) {}

}  // namespace brokkr::jetstream
