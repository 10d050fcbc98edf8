#pragma once

#include <cstddef>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/message_transport.hpp"
#include "runtime/lane.hpp"

namespace moewe::bench {

/// As many bytes between any two different ranks, nothing of a rank to itself.
class ByteExchange {
 public:
  /// Local. `communicator`, which spans MPI_COMM_WORLD, outlives this; `size` is that of each pair.
  ByteExchange(const Communicator& communicator, std::size_t size);

  /// Collective and blocking: by MPI_Alltoallv on MPI_COMM_WORLD.
  void alltoallv();

  /// Collective and blocking: by messages as long as the message path's, receives posted first.
  void messages(MessageTransport& transport, const ExchangeOptions& options);

  /// What came last is everybody's; forgets it. Throws Error(internal) otherwise.
  void check();

 private:
  std::size_t self() const { return index(communicator_.rank()); }
  std::span<std::byte> received_from(std::size_t rank) {
    return std::span(received_).subspan(rank * size_, size_);
  }

  const Communicator& communicator_;
  std::size_t size_;
  std::vector<std::byte> sent_;      // [rank][size]
  std::vector<std::byte> received_;  // [rank][size]
  std::vector<int> counts_;
  std::vector<int> offsets_;
};

}  // namespace moewe::bench
