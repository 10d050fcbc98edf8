#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/loopback/loopback_group.hpp"

namespace moewe {

/// Collectives between threads of one process, through shared addresses.
class LoopbackCommunicator : public Communicator {
 public:
  /// Local. The abort flag of `waiter` is the group's.
  LoopbackCommunicator(std::shared_ptr<LoopbackGroup> group, Rank rank, const Topology& topology,
                       const Waiter& waiter);

  Rank rank() const override { return rank_; }
  const Topology& topology() const override { return topology_; }
  const Waiter& waiter() const override { return waiter_; }

  void all_reduce(const Reduction& values) override;
  void exclusive_scan(std::span<std::int64_t> values) override;
  void broadcast(std::span<std::byte> bytes, Rank root) override;
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override;
  std::vector<std::byte> gather(std::span<const std::byte> mine, Rank root) override;
  std::unique_ptr<Communicator> child() override;

 private:
  /// Shows `mine` to all, runs `read` while everybody's value stays shown, then lets all go on.
  template <typename T, typename Read>
  void share(const T& mine, Read&& read);

  template <typename T>
  const T& of(std::size_t rank) const {
    return *static_cast<const T*>(group_->shown(rank));
  }

  std::shared_ptr<LoopbackGroup> group_;
  Rank rank_;
  Topology topology_;
  Waiter waiter_;
};

}  // namespace moewe
