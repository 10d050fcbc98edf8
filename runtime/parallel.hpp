#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <mutex>
#include <omp.h>

namespace moewe {

/// Runs body(i, thread) for i from 0 to count - 1 on up to `num_threads` threads, in any order; `thread` is
/// below num_threads and belongs to one call at a time; 0 is the calling thread. The first exception is
/// thrown again once all have stopped.
template <typename Body>
void parallel_for(std::size_t num_threads, std::size_t count, Body&& body) {
  const std::size_t used = std::min(num_threads, count);
  if (used <= 1) {
    for (std::size_t i = 0; i < count; ++i) body(i, std::size_t{0});
    return;
  }
  std::exception_ptr failure;
  std::mutex mutex;
#pragma omp parallel for schedule(dynamic) num_threads(static_cast <int>(used))
  for (std::size_t i = 0; i < count; ++i) {
    try {
      body(i, static_cast<std::size_t>(omp_get_thread_num()));
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace moewe
