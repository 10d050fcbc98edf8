#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "comm/backend.hpp"

namespace moewe::test {

/// Another communicator, whose collectives are counted; those of its children are not.
class CountedCollectives : public Communicator {
 public:
  CountedCollectives(std::unique_ptr<Communicator> communicator, std::size_t& count)
      : communicator_(std::move(communicator)), count_(count) {}

  Rank rank() const override { return communicator_->rank(); }
  const Topology& topology() const override { return communicator_->topology(); }
  const Waiter& waiter() const override { return communicator_->waiter(); }
  void all_reduce(const Reduction& values) override { counted().all_reduce(values); }
  void exclusive_scan(std::span<std::int64_t> values) override { counted().exclusive_scan(values); }
  void broadcast(std::span<std::byte> bytes, Rank root) override { counted().broadcast(bytes, root); }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    counted().all_gather(mine, all);
  }
  std::vector<std::byte> gather(std::span<const std::byte> mine, Rank root) override {
    return counted().gather(mine, root);
  }
  std::unique_ptr<Communicator> child() override { return communicator_->child(); }
  Communicator& beneath() override { return communicator_->beneath(); }

 private:
  Communicator& counted() {
    ++count_;
    return *communicator_;
  }

  std::unique_ptr<Communicator> communicator_;
  std::size_t& count_;
};

/// The same backend; what an engine does together on this rank is added to `count`, which outlives it.
inline Backend with_counted_collectives(const Backend& backend, std::size_t& count) {
  Backend result = backend;
  result.make_engine_communicator = [make = backend.make_engine_communicator, &count](Communicator& parent,
                                                                                      MemoryMeter& meter) {
    return std::make_unique<CountedCollectives>(make(parent, meter), count);
  };
  return result;
}

}  // namespace moewe::test
