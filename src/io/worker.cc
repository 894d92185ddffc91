#include "io/worker.h"

#include <pthread.h>

namespace brokkr::io {

Worker::Worker(std::string name) : name_(std::move(name)) {}

Worker::~Worker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    jobs_.clear();
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

bool Worker::run(Loop& loop, Callback<void()> work, Callback<void()> done) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || jobs_.size() >= queue_max_) return false;
    jobs_.push_back({&loop, std::move(work), std::move(done)});
    if (!thread_.joinable()) thread_ = std::thread([this] { main(); });
  }
  wake_.notify_one();
  return true;
}

void Worker::main() {
  pthread_setname_np(pthread_self(), name_.substr(0, 15).c_str());
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job.work();
    job.loop->post(std::move(job.done));
    lock.lock();
  }
}

}  // namespace brokkr::io
