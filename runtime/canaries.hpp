#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "comm/rank.hpp"

namespace moewe {

/// Known bytes behind the regions of a rank's own segment in one round: whoever writes beyond a region's end
/// writes over them.
class Canaries {
 public:
  static constexpr std::size_t bytes = 64;

  /// From now on there are none.
  void clear() { planted_.clear(); }

  /// Behind a region whose memory ends at this offset. `region` is a literal, for the error.
  void plant(std::byte* segment, std::uint64_t offset, std::string_view region);

  /// Throws Error(verification), naming region and owner, unless all are as they were planted.
  void check(const std::byte* segment, Rank owner, std::uint64_t generation) const;

 private:
  struct Canary {
    std::uint64_t offset;
    std::string_view region;
  };
  std::vector<Canary> planted_;
};

}  // namespace moewe
