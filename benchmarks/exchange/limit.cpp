#include "benchmarks/exchange/limit.hpp"

#include <algorithm>

#include "benchmarks/harness.hpp"
#include "runtime/kernels/copy.hpp"

namespace moewe::bench {

StreamingCopy::StreamingCopy(std::size_t bytes) : from_(bytes, std::byte{1}), to_(bytes) {
  constexpr int tries = 3;
  double cached = copy(false);
  double streaming = copy(true);
  for (int i = 1; i < tries; ++i) {
    cached = std::min(cached, copy(false));
    streaming = std::min(streaming, copy(true));
  }
  streaming_ = streaming < cached;
}

double StreamingCopy::run() { return copy(streaming_); }

double StreamingCopy::copy(bool streaming) {
  const Stores stores = streaming ? Stores::streaming : Stores::cached;
  return seconds_of([&] {
    copy_row(from_.data(), to_.data(), from_.size(), stores);
    finish_stores(stores);
  });
}

}  // namespace moewe::bench
