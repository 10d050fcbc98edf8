#include "tests/gpu/kernels_on_host.hpp"

namespace moewe::test {

void Block::run(unsigned int num_threads, const std::function<void()>& body) {
  num_threads_ = num_threads;
  body_ = &body;
  threads_.resize(std::max<std::size_t>(threads_.size(), num_threads));
  all_ = {num_threads, 0, 0};
  warps_.assign(num_threads / lanes, {lanes, 0, 0});
  std::fill(shared_.begin(), shared_.end(), std::byte{0xEE});
  for (unsigned int number = 0; number < num_threads; ++number) begin(number);
  while (run_warps()) {
  }
  for (unsigned int number = 0; number < num_threads; ++number) {
    if (!threads_[number].has_ended)
      throw std::runtime_error("threads of a block wait for different barriers");
  }
}

void Block::begin(unsigned int number) {
  Thread& thread = threads_[number];
  if (!thread.stack) {
    thread.stack = std::make_unique<char[]>(stack_bytes);
    getcontext(&thread.context);
  }
  thread.context.uc_stack.ss_sp = thread.stack.get();
  thread.context.uc_stack.ss_size = stack_bytes;
  thread.context.uc_link = &scheduler_;
  thread.has_ended = false;
  thread.waits_for = nullptr;
  makecontext(&thread.context, &Block::enter, 0);
}

void Block::enter() {
  Block& block = get();
  (*block.body_)();
  block.threads_[block.current_].has_ended = true;
  block.leave(block.all_);
  block.leave(block.warps_[block.current_ / lanes]);
}

/// As far as it comes; false if no thread can run.
bool Block::run_warp(unsigned int warp) {
  bool has_moved = false;
  for (bool moves = true; moves; has_moved |= moves) {
    moves = false;
    for (unsigned int i = 0; i < lanes; ++i) {
      current_ = warp * lanes + (is_reversed ? lanes - 1 - i : i);
      if (!threads_[current_].can_run()) continue;
      moves = true;
      swapcontext(&scheduler_, &threads_[current_].context);
    }
  }
  return has_moved;
}

/// False if none can run.
bool Block::run_warps() {
  const unsigned int num_warps = num_threads_ / lanes;
  bool has_moved = false;
  for (unsigned int i = 0; i < num_warps; ++i) has_moved |= run_warp(is_reversed ? num_warps - 1 - i : i);
  return has_moved;
}

void Block::wait(Barrier& barrier) {
  Thread& thread = threads_[current_];
  thread.waits_for = &barrier;
  thread.round = barrier.round;
  ++barrier.arrived;
  pass(barrier);
  if (!thread.can_run()) swapcontext(&thread.context, &scheduler_);
}

void Block::leave(Barrier& barrier) {
  --barrier.members;
  pass(barrier);
}

void Block::pass(Barrier& barrier) {
  if (barrier.arrived == 0 || barrier.arrived < barrier.members) return;
  barrier.arrived = 0;
  ++barrier.round;
}

}  // namespace moewe::test
