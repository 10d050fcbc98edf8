// Where a device hangs, its rank ends all the same, and what it still uses stays.

#include <algorithm>
#include <atomic>
#include <functional>
#include <gtest/gtest.h>
#include <optional>
#include <vector>

#include "runtime/device_layer.hpp"
#include "tests/support/device_side.hpp"
#include "tests/support/layer_runs.hpp"

namespace moewe {
namespace {

/// Notes its number when it ends.
class NumberedTransport : public MessageTransport {
 public:
  NumberedTransport(std::unique_ptr<MessageTransport> beneath, std::size_t number,
                    std::vector<std::size_t>& ended)
      : beneath_(std::move(beneath)), number_(number), ended_(ended) {}
  ~NumberedTransport() override { ended_.push_back(number_); }

  Request post_send(Rank to, Tag tag, std::span<const std::byte> bytes) override {
    return beneath_->post_send(to, tag, bytes);
  }
  Request post_recv(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes) override {
    return beneath_->post_recv(from, tag, bytes);
  }
  void progress() override { beneath_->progress(); }

 private:
  std::unique_ptr<MessageTransport> beneath_;
  std::size_t number_;
  std::vector<std::size_t>& ended_;
};

/// Transports of one rank, numbered as they are made.
Backend numbered_backend(std::vector<std::size_t>& ended) {
  Backend backend = loopback_backend();
  backend.make_transport = [beneath = backend, &ended,
                            number = std::size_t{0}](Communicator& communicator) mutable {
    return std::make_unique<NumberedTransport>(beneath.make_transport(communicator), number++, ended);
  };
  return backend;
}

/// A lane with messages and with experts that may migrate: what carries rows was made before what carries
/// weights, and both have ended, or not, when `at_end` is called.
void end_lane(Communicator& communicator, bool hangs,
              const std::function<void(const std::vector<std::size_t>&)>& at_end) {
  static std::uint64_t flag;  // outlives what waits for it
  std::atomic_ref(flag).store(0);
  communicator.barrier();
  std::vector<std::size_t> ended;
  test::Side side(communicator);
  Engine engine(communicator, numbered_backend(ended), {});
  const LayerSpec spec{{16, 12}, 4, {2, true}};
  LayerOptions options;
  options.spare_slots = 1;
  std::optional<DeviceLane> lane(std::in_place, engine, *side.device, DeviceSizes{spec, Dtype::f32, 4, 3, 6});
  std::optional<DeviceLayer> layer(std::in_place, engine, *lane, spec, contiguous_placement(4, 2),
                                   test::GeneratedWeights(spec, test::weights_seed), options);
  ended.clear();
  if (hangs) lane->queue().wait_for_flag(&flag, 1);
  layer.reset();
  lane.reset();
  at_end(ended);
  communicator.barrier();
  std::atomic_ref(flag).store(1);
}

TEST(DeviceHang, WhatCarriesItsMessagesIsKept) {
  run_ranks(Topology({0, 1}), test::patience, [](Communicator& communicator) {
    end_lane(communicator, communicator.rank() == Rank{0}, [&](const std::vector<std::size_t>& ended) {
      EXPECT_EQ(ended.empty(), communicator.rank() == Rank{0});
    });
  });
}

TEST(DeviceHang, WithoutOneCarriersEndInTheReverseOfTheirOrderOnEveryRank) {
  run_ranks(Topology({0, 1}), test::patience, [](Communicator& communicator) {
    end_lane(communicator, false, [](const std::vector<std::size_t>& ended) {
      EXPECT_GE(ended.size(), 3U);  // of counts, of rows and of weights
      EXPECT_TRUE(std::is_sorted(ended.rbegin(), ended.rend()));
    });
  });
}

}  // namespace
}  // namespace moewe
