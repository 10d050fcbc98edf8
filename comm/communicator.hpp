#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/rank.hpp"
#include "comm/topology.hpp"
#include "comm/waiter.hpp"

namespace moewe {

/// Values that one all-reduce combines in place, each element over all ranks. The lengths must be equal on
/// all ranks.
struct Reduction {
  std::span<std::int64_t> sums;
  std::span<std::int64_t> minima;
  std::span<std::int64_t> maxima;
};

/// A group of ranks and their small collectives. One communicator is used by one thread of a rank.
///
/// Every function below but the accessors is collective: all ranks call the same ones in the same order. All
/// block, but none longer than the waiter's timeout without throwing Error(timeout); after that, or after
/// Error(communication), the communicator must not be used again.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual Rank rank() const = 0;
  virtual const Topology& topology() const = 0;

  /// Also of the communicator's children: what one of them polls while it waits, all do.
  virtual const Waiter& waiter() const = 0;

  std::size_t size() const { return topology().num_ranks(); }

  virtual void all_reduce(const Reduction& values) = 0;

  /// Each element becomes its sum over the ranks before this one, 0 on rank 0. The lengths must be equal.
  virtual void exclusive_scan(std::span<std::int64_t> values) = 0;

  /// `bytes` of the root arrive in `bytes` of everyone; the lengths must be equal.
  virtual void broadcast(std::span<std::byte> bytes, Rank root) = 0;

  /// `all` holds size() blocks as long as `mine`, in rank order. The lengths must be equal on all ranks.
  virtual void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;

  /// The blocks of all ranks, of any length each, one after the other in rank order; empty but on the root.
  /// At most 2^31 - 1 bytes in all.
  virtual std::vector<std::byte> gather(std::span<const std::byte> mine, Rank root) = 0;

  /// An independent communicator over the same ranks, with the same timeout and the same polls while waiting.
  virtual std::unique_ptr<Communicator> child() = 0;

  void barrier() { all_reduce({}); }

  /// What a communicator that only adds to another one stands on; others themselves. For carriers, which need
  /// a communicator of their own kind.
  virtual Communicator& beneath() { return *this; }
};

/// all_gather of one trivially copyable value per rank.
template <typename T>
std::vector<T> all_gather_values(Communicator& communicator, const T& mine) {
  std::vector<T> all(communicator.size());
  communicator.all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)));
  return all;
}

}  // namespace moewe
