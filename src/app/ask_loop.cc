#include "app/ask_loop.h"

#include <condition_variable>
#include <memory>
#include <mutex>

namespace brokkr::app {

std::string ask_loop(io::Loop& loop, Callback<std::string()> question, Duration patience) {
  struct Asked {
    std::mutex mutex;
    std::condition_variable answered;
    bool is_answered = false;
    bool is_abandoned = false;
    std::string answer;
  };
  const auto asked = std::make_shared<Asked>();
  loop.post([asked, question = std::move(question)] {
    const std::lock_guard lock(asked->mutex);
    if (asked->is_abandoned) return;
    asked->answer = question();
    asked->is_answered = true;
    asked->answered.notify_one();
  });
  std::unique_lock lock(asked->mutex);
  asked->answered.wait_for(lock, patience, [&] { return asked->is_answered; });
  asked->is_abandoned = true;
  return std::move(asked->answer);
}

}  // namespace brokkr::app
