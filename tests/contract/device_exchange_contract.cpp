// Rows of layers on devices that travel as messages: the bits of those that are pushed.

#include <chrono>
#include <gtest/gtest.h>

#include "runtime/device_exchange.hpp"
#include "runtime/graph_lane.hpp"
#include "tests/support/device_layers.hpp"
#include "tests/support/random_placement.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe {
namespace {

using test::expect_shared_error;
using test::LayerOnDevice;
using test::make_routing;
using test::on_every_rank;
using test::part_of;
using test::random_floats;
using test::RoutingCase;
using test::share_of;

PathKind mixed_path(Rank a, Rank b) {
  const bool is_even = (number(a) + number(b)) % 2 == 0;
  return is_even || test::node_of(a) != test::node_of(b) ? PathKind::message : PathKind::direct;
}

struct Exchange {
  std::string name;
  LayerOnDevice::Options options;
};

/// Ways to send messages, staged ones through chunks so small that every row needs some.
std::vector<Exchange> exchanges() {
  std::vector<Exchange> all(3);
  all[0].name = "messages";
  all[0].options.engine.exchange.path = PathRequest::message;
  all[1].name = "messages, staged";
  all[1].options.engine.exchange.path = PathRequest::message;
  all[1].options.engine.exchange.device_messages = {DeviceCarriage::staged, 100, 3};
  all[1].options.layer.dtype = Dtype::bf16;
  all[2].name = "mixed";
  all[2].options.engine.exchange.path_between = mixed_path;
  return all;
}

void expect_planned_memory(LayerOnDevice& layer) {
  DeviceLane& lane = layer.lane();
  MemoryPlan plan = DeviceLane::plan_memory(lane.sizes(), layer.engine().communicator().size());
  for (const auto& [name, bytes] : DeviceLane::plan_arrivals(lane.sizes(), lane.arrivals().room).by_name())
    plan.add(name, bytes);
  if (const DeviceMessages* const messages = lane.exchange().messages())
    plan.add(PinnedPool::meter_name,
             staging_bytes(messages->carriage(), layer.engine().exchange_options().device_messages));
  for (const auto& [name, bytes] : plan.by_name()) {
    const auto taken = layer.engine().memory().by_name().find(name);
    EXPECT_EQ(taken == layer.engine().memory().by_name().end() ? 0 : taken->second.bytes, bytes) << name;
  }
}

/// This rank's tokens of the case, through a layer that is made for them; twice. Empty where there is no GPU.
std::vector<float> run_case(Communicator& communicator, const Backend& backend, const RoutingCase& c,
                            const Placement& placement, const LayerOnDevice::Options& options) {
  LayerOnDevice layer(communicator, backend, c.spec, placement, options);
  if (!layer) return {};
  const std::size_t hidden = c.spec.expert.hidden;
  const test::Share share = share_of(c.num_tokens, communicator);
  const std::vector<float> x = part_of(test::bf16_floats(c.num_tokens * hidden, 5), share, hidden);
  const test::OwnedRouting owned = make_routing(c, share.first, share.count);
  const Routing routing = owned;
  const std::vector<float> y = layer.forward(x, &routing);
  EXPECT_EQ(layer.forward(x, &routing), y) << "in the second step";
  expect_planned_memory(layer);
  return y;
}

std::vector<float> on_one_rank(const RoutingCase& c, const LayerOnDevice::Options& options) {
  std::vector<float> y;
  LayerOnDevice::Options alone;
  alone.layer = options.layer;
  run_ranks(1, test::patience, [&](Communicator& communicator) {
    y = run_case(communicator, loopback_backend(), c, contiguous_placement(c.spec.num_experts, 1), alone);
  });
  return y;
}

TEST(DeviceExchangeContract, RowsByMessageHaveTheBitsOfOneRank) {
  for (const RoutingCase& c : test::routing_cases()) {
    for (const Exchange& exchange : exchanges()) {
      SCOPED_TRACE(c.name + ", " + exchange.name);
      const std::vector<float> expected = on_one_rank(c, exchange.options);
      if (expected.empty() && c.num_tokens > 0) GTEST_SKIP() << "no GPU";
      on_every_rank([&](Communicator& communicator, const Backend& backend) {
        const std::size_t num_ranks = communicator.size();
        const test::Share share = share_of(c.num_tokens, communicator);
        for (const Placement& placement : {contiguous_placement(c.spec.num_experts, num_ranks),
                                           test::random_placement(c.spec.num_experts, num_ranks, 3)}) {
          EXPECT_EQ(run_case(communicator, backend, c, placement, exchange.options),
                    part_of(expected, share, c.spec.expert.hidden));
        }
      });
    }
  }
}

TEST(DeviceExchangeContract, SumsByMessageHaveTheBitsOfPushedOnes) {
  for (const RoutingCase& c : test::routing_cases()) {
    for (Exchange exchange : exchanges()) {
      SCOPED_TRACE(c.name + ", " + exchange.name);
      exchange.options.layer.combine = Combine::fast;
      on_every_rank([&](Communicator& communicator, const Backend& backend) {
        const Placement placement = contiguous_placement(c.spec.num_experts, communicator.size());
        LayerOnDevice::Options automatic;
        automatic.layer = exchange.options.layer;
        EXPECT_EQ(run_case(communicator, backend, c, placement, exchange.options),
                  run_case(communicator, backend, c, placement, automatic));
      });
    }
  }
}

TEST(DeviceExchangeContract, PathsAreThoseThatRowsTake) {
  const LayerSpec spec{{16, 24}, 8, {2, true}};
  for (const PathRequest request : {PathRequest::automatic, PathRequest::message}) {
    on_every_rank([&](Communicator& communicator, const Backend& backend) {
      LayerOnDevice::Options options;
      options.engine.exchange.path = request;
      LayerOnDevice layer(communicator, backend, spec, contiguous_placement(8, communicator.size()), options);
      if (!layer) return;
      std::size_t num_messages = 0;
      for (const PathChoice& path : layer.lane().exchange().paths()) {
        const bool is_near =
            layer.engine().communicator().topology().share_node(path.peer, communicator.rank());
        const bool is_message = request == PathRequest::message || !is_near;
        EXPECT_EQ(path.kind, path.peer == communicator.rank() ? PathKind::local
                             : is_message                     ? PathKind::message
                                                              : PathKind::direct);
        num_messages += path.kind == PathKind::message ? 1 : 0;
      }
      EXPECT_EQ(layer.lane().sizes().num_by_message, num_messages);
      EXPECT_EQ(layer.lane().exchange().messages() != nullptr, num_messages > 0);
    });
  }
}

TEST(DeviceExchangeContract, RefusesWhatDevicesDoNotHave) {
  const LayerSpec spec{{16, 24}, 8, {2, true}};
  LayerOnDevice::Options options;
  options.engine.exchange.path_between = [](Rank, Rank) { return PathKind::two_level; };
  const Topology nodes({0, 1});
  EXPECT_THROW(choose_device_paths(nodes, Rank{0}, options.engine.exchange), InvalidInput);
  options.engine.exchange.path_between = [](Rank, Rank) { return PathKind::direct; };
  EXPECT_THROW(choose_device_paths(nodes, Rank{0}, options.engine.exchange), InvalidInput);
  options.engine.exchange.path_between = [](Rank from, Rank to) {
    return from < to ? PathKind::message : PathKind::direct;
  };
  for (const Rank self : {Rank{0}, Rank{1}})
    EXPECT_THROW(choose_device_paths(Topology({0, 0}), self, options.engine.exchange), InvalidInput);
  options.engine.exchange.path_between = nullptr;
  options.engine.exchange.path = PathRequest::two_level;
  EXPECT_THROW(choose_device_paths(nodes, Rank{0}, options.engine.exchange), InvalidInput);
  options.engine.exchange.path = PathRequest::message;
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    LayerOnDevice layer(communicator, backend, spec, contiguous_placement(8, communicator.size()), options);
    if (!layer || communicator.size() == 1) return;
    expect_shared_error(ErrorKind::invalid_input, "not for path message",
                        [&] { GraphLane(layer.engine(), layer.lane()); });
    const std::vector<float> x = random_floats(3 * 16, 5);
    EXPECT_EQ(layer.forward(x).size(), x.size());
  });
}

TEST(DeviceExchangeContract, RanksThatDifferAboutACarrierOfTheirOwnAllHearOfIt) {
  run_ranks(2, test::patience, [](Communicator& communicator) {
    EngineOptions options;
    if (communicator.rank() == Rank{0})
      options.exchange.make_device_carrier = [](Communicator&, Device&) { return nullptr; };
    expect_shared_error(ErrorKind::disagreement, "own carrier of devices' messages",
                        [&] { Engine(communicator, loopback_backend(), options); });
  });
}

TEST(DeviceExchangeContract, NcclIsForGpus) {
  const LayerSpec spec{{16, 24}, 8, {2, true}};
  LayerOnDevice::Options options;
  options.engine.exchange.path = PathRequest::message;
  options.engine.exchange.device_messages.carriage = DeviceCarriage::nccl;
  run_ranks(2, test::patience, [&](Communicator& communicator) {
    test::Side side(communicator);
    if (!side.device || !side.device->is_emulated()) return;
    expect_shared_error(ErrorKind::invalid_input, "NCCL", [&] {
      LayerOnDevice(communicator, loopback_backend(), spec, contiguous_placement(8, 2), options);
    });
  });
}

/// Messages of one tag go nowhere.
class ForgetfulTransport : public MessageTransport {
 public:
  ForgetfulTransport(std::unique_ptr<MessageTransport> beneath, Tag forgotten)
      : beneath_(std::move(beneath)), forgotten_(forgotten) {}

  Request post_send(Rank to, Tag tag, std::span<const std::byte> bytes) override {
    return tag == forgotten_ ? Request() : beneath_->post_send(to, tag, bytes);
  }
  Request post_recv(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes) override {
    return beneath_->post_recv(from, tag, bytes);
  }
  void progress() override { beneath_->progress(); }

 private:
  std::unique_ptr<MessageTransport> beneath_;
  Tag forgotten_;
};

Backend forgetful_backend(Tag forgotten) {
  Backend backend = loopback_backend();
  backend.make_transport = [beneath = backend, forgotten](Communicator& communicator) {
    return std::make_unique<ForgetfulTransport>(beneath.make_transport(communicator),
                                                communicator.rank() == Rank{1} ? forgotten : Tag{max_tag});
  };
  return backend;
}

TEST(DeviceExchangeContract, WhoDoesNotSendIsNamed) {
  using namespace std::chrono_literals;
  const LayerSpec spec{{16, 24}, 2, {2, true}};  // all ranks exchange rows
  LayerOnDevice::Options options;
  options.engine.exchange.path = PathRequest::message;
  const std::pair<Tag, const char*> forgotten[] = {
      {Tag{0}, "nothing is heard of ranks 1"}, {Tag{1}, "rows from rank 1"}, {Tag{3}, "outputs from rank 1"}};
  for (const auto& [tag, words] : forgotten) {
    run_ranks(2, 500ms, [&, tag = tag, words = words](Communicator& communicator) {
      LayerOnDevice layer(communicator, forgetful_backend(tag), spec, contiguous_placement(2, 2), options);
      if (!layer || !layer.lane().device().is_emulated()) return;
      try {
        layer.forward(random_floats(3 * 16, 5));
        EXPECT_NE(communicator.rank(), Rank{0}) << "missed no " << words;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::timeout);
        if (communicator.rank() != Rank{0}) return;
        EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
      }
    });
  }
}

}  // namespace
}  // namespace moewe
