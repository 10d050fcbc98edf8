#include "comm/loopback/run_ranks.hpp"

#include <exception>
#include <fmt/format.h>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "comm/error.hpp"
#include "comm/loopback/loopback_communicator.hpp"
#include "comm/loopback/loopback_peer_memory.hpp"
#include "comm/loopback/loopback_transport.hpp"
#include "comm/shm/shm_communicator.hpp"

namespace moewe {
namespace {

bool is_of_a_peer(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return error.kind() == ErrorKind::peer_failed;
  } catch (...) {
    return false;
  }
}

/// Keeps the exception that came first and tells the other ranks. Those that say only that another rank
/// failed count where there is no other: they may come before their reason, which unwinds more slowly.
class FirstFailure {
 public:
  void record(std::exception_ptr failure) {
    const std::lock_guard lock(mutex_);
    if (!failure_ || is_of_a_peer(failure_)) failure_ = std::move(failure);
    abort_->store(true, std::memory_order_release);
  }

  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

  std::shared_ptr<const std::atomic<bool>> abort() const { return abort_; }

 private:
  std::mutex mutex_;
  std::exception_ptr failure_;
  std::shared_ptr<std::atomic<bool>> abort_ = std::make_shared<std::atomic<bool>>(false);
};

std::unique_ptr<Communicator> make_loopback_engine_communicator(Communicator& parent, MemoryMeter& meter) {
  return make_shm_communicator(parent.child(), make_loopback_peer_memory, meter);
}

}  // namespace

void run_ranks(std::size_t num_ranks, std::chrono::duration<double> timeout,
               const std::function<void(Communicator&)>& work) {
  run_ranks(Topology::one_node(num_ranks), timeout, work);
}

void run_ranks(const Topology& topology, std::chrono::duration<double> timeout,
               const std::function<void(Communicator&)>& work) {
  const std::size_t num_ranks = topology.num_ranks();
  FirstFailure failure;
  const auto group = std::make_shared<LoopbackGroup>(num_ranks, failure.abort());
  const auto run_one = [&](std::size_t rank) {
    try {
      LoopbackCommunicator communicator(group, rank_at(rank), topology,
                                        Waiter(timeout, group->abort().get()));
      work(communicator);
    } catch (...) {
      failure.record(std::current_exception());
    }
  };
  std::vector<std::thread> threads;
  try {
    for (std::size_t rank = 0; rank < num_ranks; ++rank) threads.emplace_back(run_one, rank);
  } catch (const std::system_error& error) {  // those that run must not wait for those that never will
    failure.record(std::make_exception_ptr(
        Error(ErrorKind::out_of_memory, fmt::format("only {} of {} thread-ranks could be started: {}",
                                                    threads.size(), num_ranks, error.what()))));
  }
  for (std::thread& thread : threads) thread.join();
  failure.rethrow();
}

Backend loopback_backend() {
  return {"loopback", make_loopback_transport, make_loopback_peer_memory, make_loopback_engine_communicator};
}

}  // namespace moewe
