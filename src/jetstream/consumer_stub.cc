// Stands in for consumers until they are linked in.
#include "jetstream/account.h"
#include "jetstream/consumer_api.h"

namespace brokkr::jetstream {

__attribute__((weak)) void handle_consumer_request(Account&, const ApiRequest& request) {
  request.respond_error("system_response", api_error(10003));
}

__attribute__((weak)) std::unique_ptr<Consumer> restore_consumer(Stream&, store::ConsumerStore&) {
  return nullptr;
}

}  // namespace brokkr::jetstream
