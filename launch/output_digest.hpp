#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "comm/communicator.hpp"

namespace moewe {

/// SHA-256 over the XXH3-128 digests of all output rows, in the order of step, layer and token: the same for
/// any number of ranks, and rows need not be gathered for it.
class OutputDigest {
 public:
  OutputDigest();
  ~OutputDigest();
  OutputDigest(const OutputDigest&) = delete;
  OutputDigest& operator=(const OutputDigest&) = delete;

  /// Collective. `y` holds this rank's rows of the next layer or step, [num_tokens, hidden].
  void add(Communicator& communicator, std::span<const float> y, std::size_t hidden);

  /// Lower-case hexadecimal. On rank 0; to be called once.
  std::string finish();

 private:
  struct Sha256;
  std::unique_ptr<Sha256> sha256_;
};

}  // namespace moewe
