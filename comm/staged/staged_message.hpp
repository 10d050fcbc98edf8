#pragma once

#include <cstdint>

#include "comm/message_transport.hpp"

namespace moewe {

/// How a message of any length travels in chunks that both ends hold few of:
///
///   sender    head (number, length), under the message's own tag           ->   receiver
///             <-   grant, once a chunk is ready to receive into
///             chunk   ->
///             ... a grant for every chunk, several at a time ...
///
/// Heads meet receives as any message does: by source and tag, in their order. Between two ranks, chunks come
/// in the order of their grants. Nothing is sent that has no memory to arrive in, so every chunk that is
/// granted moves on, and no end waits for ever with all its chunks taken. A refusal is the last grant: no
/// more of the message is wanted.
struct StagedHead {
  std::uint64_t message = 0;  ///< numbered by the sender
  std::uint64_t length = 0;   ///< bytes
};

struct StagedGrant {
  std::uint64_t message = 0;
  std::uint64_t is_refusal = 0;
};

/// Of grants and chunks, in a transport of their own.
inline constexpr Tag grant_tag{0};
inline constexpr Tag chunk_tag{1};

}  // namespace moewe
