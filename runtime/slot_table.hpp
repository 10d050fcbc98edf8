#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/buffer.hpp"

namespace moewe {

/// One expert's weights as the matmuls want them.
struct ExpertWeights {
  Buffer in;   ///< gate and up, or up alone
  Buffer out;  ///< down

  /// checksum_of both as they were loaded from their source; 0 where nobody asks for it.
  std::uint64_t checksum = 0;

  std::array<std::span<const std::byte>, 2> bytes() const {
    return {std::span(in.data(), in.size()), std::span(out.data(), out.size())};
  }
  std::array<std::span<std::byte>, 2> bytes() {
    return {std::span(in.data(), in.size()), std::span(out.data(), out.size())};
  }

  /// Copy the bytes from `offset` on, in and out one after the other.
  void read(std::size_t offset, std::span<std::byte> to) const;
  void write(std::size_t offset, std::span<const std::byte> from);
};

/// The weights in a rank's slots of one layer, in slot order. Shared with every other table that holds the
/// same expert, so that nobody may write them.
struct SlotTable {
  std::vector<std::shared_ptr<const ExpertWeights>> slots;
};

}  // namespace moewe
