#pragma once

#include <memory>

#include "jetstream/api.h"
#include "jetstream/consumer.h"

namespace brokkr::store {
class ConsumerStore;
}

namespace brokkr::jetstream {

class Stream;

// Answers a `$JS.API.CONSUMER.…` request of any kind but MSG.NEXT, to which consumers subscribe
// themselves.
void handle_consumer_request(Account& account, const ApiRequest& request);

// The consumer of `stream` whose state was found at start, delivering again. Null, with a word in
// the log, when its configuration cannot be understood; its state is kept.
std::unique_ptr<Consumer> restore_consumer(Stream& stream, store::ConsumerStore& state);

}  // namespace brokkr::jetstream
