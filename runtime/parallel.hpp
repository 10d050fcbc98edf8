#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <omp.h>

namespace moewe {

/// Runs body(0) .. body(count - 1) on the rank's threads, in any order. The first exception is thrown again
/// once all threads have stopped.
template <typename Body>
void parallel_for(std::size_t count, Body&& body) {
  if (count == 1 || omp_get_max_threads() == 1) {
    for (std::size_t i = 0; i < count; ++i) body(i);
    return;
  }
  std::exception_ptr failure;
  std::mutex mutex;
#pragma omp parallel for schedule(dynamic)
  for (std::size_t i = 0; i < count; ++i) {
    try {
      body(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

/// Which of the rank's threads this is; below omp_get_max_threads() of the thread that called parallel_for.
inline std::size_t thread_index() { return static_cast<std::size_t>(omp_get_thread_num()); }

}  // namespace moewe
