#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

namespace moewe {

/// Counts the bytes of one rank's large buffers by name, now and at their highest. Not thread-safe: a rank
/// allocates from one thread.
class MemoryMeter {
 public:
  struct Use {
    std::size_t bytes = 0;
    std::size_t peak_bytes = 0;
  };

  MemoryMeter() = default;

  /// What is counted here is also counted in `parent`, which outlives this meter.
  explicit MemoryMeter(MemoryMeter& parent) : parent_(&parent) {}

  /// The same, but in the parent it all goes under one name.
  MemoryMeter(MemoryMeter& parent, std::string_view name_in_parent)
      : parent_(&parent), name_in_parent_(name_in_parent) {}
  MemoryMeter(const MemoryMeter&) = delete;
  MemoryMeter& operator=(const MemoryMeter&) = delete;

  void add(std::string_view name, std::size_t bytes);
  void remove(std::string_view name, std::size_t bytes);

  std::size_t bytes() const { return total_.bytes; }

  /// Highest sum over all names at any one time; at most the sum of the names' own peaks.
  std::size_t peak_bytes() const { return total_.peak_bytes; }

  const std::map<std::string, Use, std::less<>>& by_name() const { return by_name_; }

 private:
  /// Under which the parent counts what is counted here under `name`.
  std::string_view in_parent(std::string_view name) const {
    return name_in_parent_.empty() ? name : std::string_view(name_in_parent_);
  }

  MemoryMeter* parent_ = nullptr;
  std::string name_in_parent_;
  Use total_;
  std::map<std::string, Use, std::less<>> by_name_;
};

}  // namespace moewe
