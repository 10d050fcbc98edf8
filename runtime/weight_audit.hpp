#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace moewe {

/// Of these pieces, one after the other; of how they are divided, too.
std::uint64_t checksum_of(std::span<const std::span<const std::byte>> bytes);

/// Checksums of the weights that a rank holds of one layer, taken when they have been loaded: so that nothing
/// is computed with weights that have changed in memory since. One without parts finds nothing.
class WeightAudit {
 public:
  /// The same with a checksum_of the bytes that was taken earlier.
  void add(std::string name, std::vector<std::span<const std::byte>> bytes, std::uint64_t checksum);

  /// Takes the checksum of `bytes`, which stay where they are for as long as this is used. `name` is what an
  /// error calls them.
  void add(std::string name, std::vector<std::span<const std::byte>> bytes);

  /// Local. Reads all bytes of all parts, on up to `num_threads` threads. Throws Error(verification), naming
  /// the part, where they have another checksum than they had.
  void check(std::size_t num_threads) const;

 private:
  struct Part {
    std::string name;
    std::vector<std::span<const std::byte>> bytes;
    std::uint64_t checksum;
  };

  std::vector<Part> parts_;
};

}  // namespace moewe
