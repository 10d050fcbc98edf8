#pragma once

#include <numeric>

#include "comm/communicator.hpp"

namespace moewe::test {

/// Another communicator, whose ranks are told that they share no node.
class Apart : public Communicator {
 public:
  explicit Apart(Communicator& together) : together_(together), topology_(labels(together.size())) {}

  Rank rank() const override { return together_.rank(); }
  const Topology& topology() const override { return topology_; }
  const Waiter& waiter() const override { return together_.waiter(); }

  void all_reduce(const Reduction& values) override { together_.all_reduce(values); }
  void exclusive_scan(std::span<std::int64_t> values) override { together_.exclusive_scan(values); }
  void broadcast(std::span<std::byte> bytes, Rank root) override { together_.broadcast(bytes, root); }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    together_.all_gather(mine, all);
  }
  std::vector<std::byte> gather(std::span<const std::byte> mine, Rank root) override {
    return together_.gather(mine, root);
  }
  std::unique_ptr<Communicator> child() override { return together_.child(); }

 private:
  static std::vector<std::uint64_t> labels(std::size_t num_ranks) {
    std::vector<std::uint64_t> all(num_ranks);
    std::iota(all.begin(), all.end(), std::uint64_t{0});
    return all;
  }

  Communicator& together_;
  Topology topology_;
};

}  // namespace moewe::test
