#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "comm/communicator.hpp"

namespace moewe {

/// SHA-256 over the XXH3-128 digests of all output rows, in the order of step, layer and token: the same for
/// any number of ranks, and rows need not be gathered for it.
class OutputDigest {
 public:
  /// Between two rows, to go on from later; of this machine and its library.
  using State = std::array<std::byte, 112>;

  OutputDigest();
  ~OutputDigest();
  OutputDigest(const OutputDigest&) = delete;
  OutputDigest& operator=(const OutputDigest&) = delete;

  /// Collective. `y` holds this rank's rows of the next layer or step, [num_tokens, hidden].
  void add(Communicator& communicator, std::span<const float> y, std::size_t hidden);

  // On rank 0.

  /// Lower-case hexadecimal. To be called once.
  std::string finish();

  State state() const;

  /// Throws InvalidInput for bytes that are no state.
  void restore(const State& state);

  /// A digest of what was added since this was last called, or from the beginning.
  std::uint64_t take_part();

 private:
  struct Hashes;
  std::unique_ptr<Hashes> hashes_;
};

}  // namespace moewe
