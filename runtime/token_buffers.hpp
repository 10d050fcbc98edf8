#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "comm/backend.hpp"
#include "comm/buffer.hpp"

namespace moewe {

/// Where tokens lie that peers can read: in which of the engine's token buffers, and at what offset.
struct TokenPlace {
  std::uint64_t buffer = 0;
  std::uint64_t offset = 0;
};

/// Memory for a caller's tokens that the ranks of a node read where it is: what lies there need not be copied
/// for them.
class TokenBuffers {
 public:
  static constexpr std::string_view meter_name = "token buffers";

  explicit TokenBuffers(MemoryMeter& meter) : meter_(meter, meter_name) {}

  /// Collective: one more, of `bytes` on this rank, zeroed; it stays where it is. Plain memory, never found,
  /// where no other can be had. Throws a shared Error when there is no memory on some rank.
  std::span<std::byte> add(Communicator& communicator, const Backend& backend, std::size_t bytes);

  const MemoryMeter& memory() const { return meter_; }

  /// None unless all of `tokens` lies in one buffer.
  std::optional<TokenPlace> find(std::span<const std::byte> tokens) const;

  /// What a peer on this node has there. Throws Error(verification) for a buffer that there is not.
  const std::byte* of(Rank peer, const TokenPlace& place) const;

 private:
  struct TokenBuffer {
    std::unique_ptr<PeerMemory> shared;  // if it can be had
    Buffer plain;
    std::span<std::byte> bytes;
  };

  MemoryMeter meter_;  // outlives all that is counted
  std::vector<TokenBuffer> buffers_;
};

}  // namespace moewe
