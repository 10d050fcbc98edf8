#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "comm/rank.hpp"

namespace moewe {

/// Letters between ranks that nobody has to expect. For what is said once something has gone wrong: sending
/// one does not need the other side to take it.
class Mailbox {
 public:
  virtual ~Mailbox() = default;

  /// Non-blocking; the bytes are copied.
  virtual void post(Rank to, std::span<const std::byte> letter) = 0;

  /// Non-blocking: the next letter that has come, from whomever.
  virtual std::optional<std::vector<std::byte>> take() = 0;
};

}  // namespace moewe
