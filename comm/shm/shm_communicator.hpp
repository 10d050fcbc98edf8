#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "comm/backend.hpp"

namespace moewe {

/// A communicator whose collectives of few values go through peer memory that reaches all ranks, in one hop;
/// the others, and those of more values, go to the communicator beneath. Calls are numbered. Each rank writes
/// what it brings into a place of its own segment, the call's number last, and reads what everybody else has
/// brought to the same call. There are two places, used in turn:
///
///   | number | operation | lengths | values ... |   | number | operation | lengths | values ... |
///
/// Nobody returns before everybody has called. So a place may be overwritten two calls later: every rank had
/// begun the call between them by then, and had read this one before it did.
class ShmCommunicator : public Communicator {
 public:
  /// A collective of more bytes per rank goes to the communicator beneath.
  static constexpr std::size_t max_bytes = 8192 - 40;

  /// Beyond this many ranks, reading everybody's values takes longer than a collective of several hops.
  static constexpr std::size_t max_ranks = 16;

  /// What every rank's segment has to hold.
  static std::size_t segment_bytes();

  /// Local. `memory`, counted in `meter`, is host memory that reaches all ranks, zero at first.
  ShmCommunicator(std::unique_ptr<Communicator> beneath, std::unique_ptr<MemoryMeter> meter,
                  std::unique_ptr<PeerMemory> memory);

  Rank rank() const override { return rank_; }
  const Topology& topology() const override { return beneath_->topology(); }
  const Waiter& waiter() const override { return beneath_->waiter(); }

  void all_reduce(const Reduction& values) override;
  void exclusive_scan(std::span<std::int64_t> values) override;
  void broadcast(std::span<std::byte> bytes, Rank root) override;
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override;
  std::vector<std::byte> gather(std::span<const std::byte> mine, Rank root) override {
    return beneath_->gather(mine, root);
  }

  /// A child of the communicator beneath.
  std::unique_ptr<Communicator> child() override { return beneath_->child(); }
  Communicator& beneath() override { return beneath_->beneath(); }

 private:
  enum class Operation : std::uint64_t;
  struct Call;
  struct Place;

  /// Begins the next call. Returns where this rank writes its values.
  std::byte* begin();

  /// Lets all read the values, then waits for those of all other ranks and calls visit(rank, values) for
  /// each, in rank order. Throws Error(internal), on every rank, where the calls differ.
  template <typename Visit>
  void share(const Call& call, std::string_view what, Visit&& visit);

  /// The same for a collective that goes to the communicator beneath: all ranks go there, or none does.
  void agree_to_go_beneath(const Call& call, std::string_view what);

  Place& place_of(Rank rank) const;

  std::unique_ptr<Communicator> beneath_;
  std::unique_ptr<MemoryMeter> meter_;
  std::unique_ptr<PeerMemory> memory_;
  Rank rank_;
  std::vector<Rank> peers_;
  std::vector<const std::byte*> segments_;  // of every rank
  std::uint64_t number_ = 0;                // of the call begun last
};

/// Collective. Wraps `communicator` in a ShmCommunicator, counted in `meter`, where all its ranks share a
/// node and are not too many, and where peer memory can be had; otherwise returns it as it is.
std::unique_ptr<Communicator> make_shm_communicator(
    std::unique_ptr<Communicator> communicator,
    const std::function<PeerMemoryOffer(Communicator&, MemoryMeter&, std::size_t num_flags)>&
        make_peer_memory,
    MemoryMeter& meter);

}  // namespace moewe
