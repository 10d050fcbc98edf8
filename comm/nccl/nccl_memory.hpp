#pragma once

#include <cstddef>

namespace moewe {

/// Of the ranks that one exchanges messages with by NCCL.
struct NcclPeers {
  std::size_t on_node = 0;
  bool has_others = false;
};

/// Memory of the GPU that NCCL takes for messages with these peers, beside what it takes to start; an
/// estimate, since NCCL documents the size of a buffer alone, and never how many there are. Local.
///
///   channels * (on_node * (received + sent) + (has_others ? 2 * 16 * 128 KiB : 0))
///
/// as allocated by NCCL 2.30 (transport/p2p.cc: for each peer of the node and channel; transport/net.cc: for
/// all others together, each way). `received` is a buffer of each protocol, of NCCL_BUFFSIZE (4 MiB), of 4.7
/// and of 0.5 MiB, in whole 2 MiB, `sent` 2 MiB. `channels` is 32, which GPUs with NVLink use for each peer
/// (github.com/NVIDIA/nccl/issues/1685), others use fewer; or NCCL_MAX_CTAS, to the next power of two, up
/// to 64.
std::size_t nccl_bytes(const NcclPeers& peers);

}  // namespace moewe
