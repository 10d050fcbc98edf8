#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <stdexcept>
#include <ucontext.h>
#include <vector>

#include "comm/queue.hpp"

// What the bodies of kernels use of CUDA, on the host: each thread of a block is a context of its own, which
// runs up to the next barrier, and each warp runs as far as it can before the next does. So indices, barriers
// and shuffles are tested where there is no GPU; what is not ordered by barriers shows where warps run in the
// other order. Included before anything else.

#define MOEWE_KERNELS_ON_HOST
#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(threads)

struct dim3 {
  dim3(unsigned int in_x = 1, unsigned int in_y = 1, unsigned int in_z = 1) : x(in_x), y(in_y), z(in_z) {}
  unsigned int x;
  unsigned int y;
  unsigned int z;
};

inline constexpr int cudaSuccess = 0;
inline constexpr int cudaErrorInvalidValue = 1;

namespace moewe::test {

/// One block at a time.
class Block {
 public:
  /// Whether warps, and threads in them, run from the last to the first.
  inline static bool is_reversed = false;

  /// Throws when threads wait for different barriers.
  void run(unsigned int num_threads, const std::function<void()>& body);

  void wait_for_block() { wait(all_); }
  void wait_for_warp() { wait(warps_[current_ / lanes]); }

  /// The value that each lane of the thread's warp shows.
  template <typename Value>
  Value shuffle(Value mine, unsigned int lane) {
    static std::vector<Value> shown(most_threads);
    shown[current_] = mine;
    wait_for_warp();
    const Value theirs = shown[current_ / lanes * lanes + lane];
    wait_for_warp();
    return theirs;
  }

  /// What all lanes of the thread's warp show, until they wait for one another again.
  template <typename Value>
  const Value* show(const Value& mine) {
    static std::vector<Value> shown(most_threads);
    shown[current_] = mine;
    wait_for_warp();
    return shown.data() + current_ / lanes * lanes;
  }

  unsigned int current() const { return current_; }
  std::byte* shared_bytes() { return shared_.data(); }

  static Block& get() {
    static Block block;
    return block;
  }

  static constexpr unsigned int lanes = 32;

 private:
  static constexpr unsigned int most_threads = 1024;
  static constexpr std::size_t stack_bytes = std::size_t{64} << 10U;

  struct Barrier {
    unsigned int members = 0;
    unsigned int arrived = 0;
    std::size_t round = 0;
  };

  struct Thread {
    ucontext_t context{};
    std::unique_ptr<char[]> stack;
    bool has_ended = true;
    const Barrier* waits_for = nullptr;
    std::size_t round = 0;

    bool can_run() const { return !has_ended && (waits_for == nullptr || waits_for->round != round); }
  };

  static void enter();
  void begin(unsigned int number);
  bool run_warp(unsigned int warp);
  bool run_warps();
  void wait(Barrier& barrier);
  void leave(Barrier& barrier);
  void pass(Barrier& barrier);

  std::vector<Thread> threads_;
  unsigned int num_threads_ = 0;
  unsigned int current_ = 0;
  const std::function<void()>* body_ = nullptr;
  ucontext_t scheduler_{};
  Barrier all_;
  std::vector<Barrier> warps_;
  alignas(16) std::vector<std::byte> shared_ = std::vector<std::byte>(std::size_t{96} << 10U);
};

struct ThreadIndex {
  struct X {
    operator unsigned int() const { return Block::get().current(); }
  } x;
};

}  // namespace moewe::test

inline moewe::test::ThreadIndex threadIdx;
inline dim3 blockIdx;

inline void __syncthreads() { moewe::test::Block::get().wait_for_block(); }
inline void __syncwarp() { moewe::test::Block::get().wait_for_warp(); }
inline void __threadfence_block() {}

template <typename Value>
Value __shfl_xor_sync(unsigned int, Value mine, unsigned int mask) {
  return moewe::test::Block::get().shuffle(mine, (threadIdx.x % moewe::test::Block::lanes) ^ mask);
}

template <typename Value>
Value __shfl_up_sync(unsigned int, Value mine, unsigned int distance) {
  const unsigned int lane = threadIdx.x % moewe::test::Block::lanes;
  return moewe::test::Block::get().shuffle(mine, lane >= distance ? lane - distance : lane);
}

inline unsigned int atomicAdd(unsigned int* to, unsigned int value) {
  const unsigned int before = *to;
  *to += value;
  return before;
}

inline unsigned int atomicMin(unsigned int* to, unsigned int value) {
  const unsigned int before = *to;
  *to = std::min(*to, value);
  return before;
}

namespace moewe {

template <typename Work>
int start(void (*kernel)(Work), dim3 grid, unsigned int threads, std::size_t, StreamHandle,
          const Work& work) {
  for (unsigned int y = 0; y < grid.y; ++y) {
    for (unsigned int x = 0; x < grid.x; ++x) {
      blockIdx = dim3(x, y);
      test::Block::get().run(threads, [&] { kernel(work); });
    }
  }
  return cudaSuccess;
}

template <typename Value>
Value* shared_bytes() {
  return reinterpret_cast<Value*>(test::Block::get().shared_bytes());
}

}  // namespace moewe
