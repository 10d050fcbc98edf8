#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

namespace moewe {

/// Bytes of one rank's counted memory by name, as a MemoryMeter counts them: what is planned can be compared
/// with what is used, name by name.
class MemoryPlan {
 public:
  void add(std::string_view name, std::size_t bytes) {
    if (bytes > 0) bytes_[std::string(name)] += bytes;
  }

  /// Becomes what both need who use the same memory one after the other: the larger for each name.
  void cover(const MemoryPlan& other);

  std::size_t total() const;
  const std::map<std::string, std::size_t>& by_name() const { return bytes_; }

 private:
  std::map<std::string, std::size_t> bytes_;
};

}  // namespace moewe
