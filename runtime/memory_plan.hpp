#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace moewe {

/// Above every sum of what a machine has; what would be more counts as this.
inline constexpr std::size_t most_plannable_bytes = std::size_t{1} << 62;

/// The sum of two such numbers of bytes.
inline std::size_t saturated_sum(std::size_t a, std::size_t b) {
  return std::min(std::min(a, most_plannable_bytes) + std::min(b, most_plannable_bytes),
                  most_plannable_bytes);
}

/// Bytes of one rank's counted memory by name, as a MemoryMeter counts them: what is planned can be compared
/// with what is used, name by name. Made anew in every step, of a few names.
class MemoryPlan {
 public:
  void add(std::string_view name, std::size_t bytes) {
    if (bytes == 0) return;
    std::size_t& sum = entry(name).bytes;
    sum = saturated_sum(sum, bytes);
  }

  /// Becomes what both need who use the same memory one after the other: the larger for each name.
  void cover(const MemoryPlan& other);

  std::size_t total() const;
  std::map<std::string, std::size_t> by_name() const;

 private:
  struct Entry {
    std::string name;
    std::size_t bytes;
  };

  /// Makes one of 0 bytes where there is none.
  Entry& entry(std::string_view name);

  std::vector<Entry> entries_;
};

}  // namespace moewe
