// Rows of layers on devices over a carrier of whole groups, as NCCL is one: what DeviceTransport::flush asks
// of those who use it.

#include <gtest/gtest.h>

#include "comm/grouped/grouped_transport.hpp"
#include "tests/support/device_layers.hpp"
#include "tests/support/emulated_groups.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe {
namespace {

using test::LayerOnDevice;
using test::part_of;

LayerOnDevice::Options over_groups(test::GroupWire& wire) {
  LayerOnDevice::Options options;
  options.engine.exchange.make_device_carrier = [&wire](Communicator& communicator, Device& device) {
    auto groups = std::make_unique<test::EmulatedGroups>(wire, communicator.rank(), device);
    return make_grouped_transport(communicator, device, std::move(groups),
                                  loopback_backend().make_transport(communicator));
  };
  return options;
}

std::vector<float> run_steps(LayerOnDevice& layer, const test::RoutingCase& c) {
  const test::Share share = test::share_of(c.num_tokens, layer.engine().communicator());
  const test::OwnedRouting owned = test::make_routing(c, share.first, share.count);
  const Routing routing = owned;
  const std::vector<float> all = test::bf16_floats(c.num_tokens * c.spec.expert.hidden, 5);
  const std::vector<float> x = part_of(all, share, c.spec.expert.hidden);
  const std::vector<float> y = layer.forward(x, &routing);
  for (int step = 0; step < 3; ++step) EXPECT_EQ(layer.forward(x, &routing), y);
  return y;
}

TEST(DeviceGroups, HaveTheBitsOfOneRank) {
  for (const test::RoutingCase& c : test::routing_cases()) {
    std::vector<float> expected;
    run_ranks(1, test::patience, [&](Communicator& communicator) {
      LayerOnDevice layer(communicator, loopback_backend(), c.spec,
                          contiguous_placement(c.spec.num_experts, 1), {});
      if (layer) expected = run_steps(layer, c);
    });
    for (const std::vector<std::uint64_t>& nodes :
         std::vector<std::vector<std::uint64_t>>{{0, 1}, {0, 0, 1, 1, 1}}) {
      SCOPED_TRACE(c.name);
      test::GroupWire wire;
      run_ranks(Topology(nodes), test::patience, [&](Communicator& communicator) {
        LayerOnDevice layer(communicator, loopback_backend(), c.spec,
                            contiguous_placement(c.spec.num_experts, nodes.size()), over_groups(wire));
        if (!layer || !layer.lane().device().is_emulated()) return;
        EXPECT_EQ(run_steps(layer, c),
                  part_of(expected, test::share_of(c.num_tokens, communicator), c.spec.expert.hidden));
      });
      EXPECT_EQ(wire.num_aborted, 0U);
    }
  }
}

}  // namespace
}  // namespace moewe
