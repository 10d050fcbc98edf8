#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/paths/message_path.hpp"
#include "runtime/paths/transfer.hpp"

namespace moewe {

/// A rank that this one sends rows to in a round, and how far their outputs have come.
struct MessagePath::Outgoing {
  Rank to;
  std::size_t chunk_bytes;
  Destination destination;
  Announcement announcement{};
  std::vector<Chunk> chunks;
  std::vector<std::span<const std::byte>> outputs;  // one part per chunk
  Request announced;
  std::vector<Transfer> sends;
  std::vector<Transfer> returns;  // one per chunk
  std::size_t num_returned = 0;   // chunks
};

/// A rank that sends rows, and how far they and their outputs have come.
struct MessagePath::Incoming {
  Rank from;
  std::size_t chunk_bytes;
  Announcement::Counts counts{};
  std::span<PlannedAssignment> manifest;
  std::span<std::byte> rows;
  std::span<std::byte> outputs;
  std::vector<Chunk> chunks;  // known once the manifest is there
  Transfer manifest_received;
  std::vector<Transfer> receives;  // one per chunk
  std::vector<Transfer> sends;
  std::size_t num_collected = 0;        // chunks
  std::size_t num_given_back = 0;       // chunks
  std::uint64_t manifest_checksum = 0;  // where audited
};

}  // namespace moewe
