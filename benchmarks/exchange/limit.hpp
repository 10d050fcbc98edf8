#pragma once

#include <cstddef>
#include <vector>

namespace moewe::bench {

/// What a round trip is measured against: copying half of all bytes that it must read and write.
class StreamingCopy {
 public:
  explicit StreamingCopy(std::size_t bytes);

  /// Local and blocking; seconds of one copy, by the quicker way to store.
  double run();

 private:
  double copy(bool streaming);

  std::vector<std::byte> from_;
  std::vector<std::byte> to_;
  bool streaming_ = false;
};

}  // namespace moewe::bench
