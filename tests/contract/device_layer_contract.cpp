// Layers whose tokens, weights and experts are on devices.

#include <cmath>
#include <gtest/gtest.h>
#include <map>
#include <mutex>
#include <numeric>
#include <set>
#include <tuple>

#include "tests/support/device_layers.hpp"
#include "tests/support/oracle.hpp"
#include "tests/support/random_placement.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe {
namespace {

using test::expect_shared_error;
using test::GeneratedWeights;
using test::LayerOnDevice;
using test::make_routing;
using test::on_every_rank;
using test::part_of;
using test::random_floats;
using test::RoutingCase;
using test::share_of;

LayerOnDevice::Options in(Dtype dtype) {
  LayerOnDevice::Options options;
  options.layer.dtype = dtype;
  return options;
}

/// Runs `work` on every rank; where one has no GPU, the test is skipped.
template <typename Work>
void on_every_device(const LayerSpec& spec, const LayerOnDevice::Options& options, Work&& work) {
  bool is_skipped = false;
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    LayerOnDevice layer(communicator, backend, spec,
                        contiguous_placement(spec.num_experts, communicator.size()), options);
    if (layer) return work(layer);
    if (index(communicator.rank()) == 0) is_skipped = true;
  });
  if (is_skipped) GTEST_SKIP() << "no GPU";
}

/// All tokens through one layer on one rank. None where there is no GPU.
std::vector<float> on_one_rank(const LayerSpec& spec, const Routing* routing, const std::vector<float>& x,
                               Dtype dtype) {
  std::vector<float> y;
  run_ranks(1, test::patience, [&](Communicator& communicator) {
    LayerOnDevice layer(communicator, loopback_backend(), spec, contiguous_placement(spec.num_experts, 1),
                        in(dtype));
    if (layer) y = layer.forward(x, routing);
  });
  return y;
}

TEST(DeviceLayerContract, HasTheBitsOfOneRank) {
  for (const RoutingCase& c : test::routing_cases()) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      SCOPED_TRACE(c.name + ", " + name_of(dtype));
      const std::size_t hidden = c.spec.expert.hidden;
      const std::vector<float> x = test::bf16_floats(c.num_tokens * hidden, 5);
      const test::OwnedRouting routing = make_routing(c, 0, c.num_tokens);
      const Routing whole = routing;
      const std::vector<float> expected = on_one_rank(c.spec, &whole, x, dtype);
      on_every_device(c.spec, in(dtype), [&](LayerOnDevice& layer) {
        const test::Share share = share_of(c.num_tokens, layer.engine().communicator());
        const test::OwnedRouting mine = make_routing(c, share.first, share.count);
        const Routing of_mine = mine;
        for (int step = 0; step < 2; ++step) {
          EXPECT_EQ(layer.forward(part_of(x, share, hidden), &of_mine), part_of(expected, share, hidden))
              << "step " << step;
        }
      });
    }
  }
}

LayerSpec spec_of_everything() {
  LayerSpec spec{{40, 24, Activation::gelu, true}, 16, {4, true}, 20};
  spec.router.score = Score::sigmoid;
  spec.router.has_selection_bias = true;
  spec.router.num_groups = 4;
  spec.router.kept_groups = 2;
  spec.router.scale = 1.5F;
  return spec;
}

TEST(DeviceLayerContract, RoutesAndComputesWhatPlainLoopsDo) {
  const LayerSpec spec = spec_of_everything();
  const LayerSpec two_matrices{{33, 20, Activation::relu, false}, 6, {2, true}};
  const std::size_t num_tokens = 90;
  for (const LayerSpec& s : {spec, two_matrices}) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      const std::vector<float> x = test::bf16_floats(num_tokens * s.expert.hidden, 7);
      const float tolerance = dtype == Dtype::f32 ? 4e-6F : 0.02F;
      on_every_device(s, in(dtype), [&](LayerOnDevice& layer) {
        const test::Share share = share_of(num_tokens, layer.engine().communicator());
        const std::vector<float> mine = part_of(x, share, s.expert.hidden);
        const std::vector<float> y = layer.forward(mine);
        const std::vector<double> expected =
            test::plain_moe(s, GeneratedWeights(s, test::weights_seed), layer->routing(), mine, dtype);
        for (std::size_t i = 0; i < y.size(); ++i)
          ASSERT_NEAR(y[i], expected[i], tolerance * (1 + std::abs(expected[i])));
      });
    }
  }
}

TEST(DeviceLayerContract, ChoosesAsARankWithoutADevice) {
  const LayerSpec spec = spec_of_everything();
  on_every_device(spec, {}, [&](LayerOnDevice& layer) {
    const std::vector<float> x = random_floats(30 * spec.expert.hidden, 9);
    const std::vector<float> y = layer.forward(x);
    MoeLayer on_cores = test::make_layer(layer.engine(), spec);
    std::vector<float> expected(x.size());
    on_cores.forward(x, expected);
    EXPECT_TRUE(std::ranges::equal(layer->routing().experts, on_cores.routing().experts));
    for (std::size_t i = 0; i < y.size(); ++i)
      ASSERT_NEAR(y[i], expected[i], 4e-6F * (1 + std::abs(expected[i])));
    EXPECT_EQ(layer->report().assignments_per_expert, on_cores.report().assignments_per_expert);
    EXPECT_EQ(layer->report().computed_per_slot, on_cores.report().computed_per_slot);
  });
}

/// Of all values together, since those of a few tokens may cancel out.
struct Deviation {
  void add(const std::vector<float>& values, const std::vector<float>& expected) {
    const std::lock_guard lock(mutex);
    for (std::size_t i = 0; i < values.size(); ++i) {
      error += std::pow(double{values[i]} - double{expected[i]}, 2);
      size += std::pow(double{expected[i]}, 2);
    }
  }
  double relative() const { return std::sqrt(error / size); }

  std::mutex mutex;
  double error = 0;
  double size = 0;
};

TEST(DeviceLayerContract, CombinedFastIsCloseAndTheSameInEveryRun) {
  // As on cores: a sum over k in another order differs by some 2^-24, and in bf16 each rank's partial sum is
  // rounded once more, with a relative error of at most 2^-9.
  std::map<std::pair<Dtype, bool>, Deviation> deviations;  // by type, and whether grouped
  for (const RoutingCase& c : test::routing_cases()) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      SCOPED_TRACE(c.name + ", " + name_of(dtype));
      const std::size_t hidden = c.spec.expert.hidden;
      const std::vector<float> x = test::bf16_floats(c.num_tokens * hidden, 5);
      const test::OwnedRouting routing = make_routing(c, 0, c.num_tokens);
      const Routing whole = routing;
      const std::vector<float> exact = on_one_rank(c.spec, &whole, x, dtype);
      LayerOnDevice::Options options = in(dtype);
      options.layer.combine = Combine::fast;
      Deviation& own = deviations[{dtype, false}];
      Deviation& grouped = deviations[{dtype, true}];
      on_every_device(c.spec, options, [&](LayerOnDevice& layer) {
        const test::Share share = share_of(c.num_tokens, layer.engine().communicator());
        const test::OwnedRouting mine = make_routing(c, share.first, share.count);
        const Routing of_mine = mine;
        const std::vector<float> y = layer.forward(part_of(x, share, hidden), &of_mine);
        EXPECT_EQ(layer.forward(part_of(x, share, hidden), &of_mine), y);
        (layer->report().are_matmuls_grouped ? grouped : own).add(y, part_of(exact, share, hidden));
      });
    }
  }
  for (const auto& [kind, deviation] : deviations) {
    ASSERT_GT(deviation.size, 0.0) << name_of(kind.first) << ", grouped " << kind.second;
    EXPECT_LT(deviation.relative(), kind.first == Dtype::f32 ? 3e-7 : 4e-3);
  }
}

TEST(DeviceLayerContract, ReplicasHaveTheSameBitsAlsoWhereStepsAreAudited) {
  const RoutingCase c = test::routing_cases().front();
  const std::vector<float> x = test::bf16_floats(c.num_tokens * c.spec.expert.hidden, 5);
  const test::OwnedRouting routing = make_routing(c, 0, c.num_tokens);
  const Routing whole = routing;
  const std::vector<float> expected = on_one_rank(c.spec, &whole, x, Dtype::bf16);
  for (const VerifyLevel verify : {VerifyLevel::ledger, VerifyLevel::audit}) {
    LayerOnDevice::Options options = in(Dtype::bf16);
    options.engine.verify = verify;
    on_every_rank([&](Communicator& communicator, const Backend& backend) {
      const Placement placement = test::random_placement(c.spec.num_experts, communicator.size(), 3);
      LayerOnDevice layer(communicator, backend, c.spec, placement, options);
      if (!layer) return;
      const test::Share share = share_of(c.num_tokens, layer.engine().communicator());
      const test::OwnedRouting mine = make_routing(c, share.first, share.count);
      const Routing of_mine = mine;
      for (int step = 0; step < 2; ++step) {
        EXPECT_EQ(layer.forward(part_of(x, share, c.spec.expert.hidden), &of_mine),
                  part_of(expected, share, c.spec.expert.hidden));
      }
    });
  }
}

struct ScaleRow {
  const std::byte* from;
  std::byte* to;
  std::size_t length;
  float factor;
};

const Kernel<ScaleRow> scale_row{"scale_row",
                                 [](const ScaleRow& work) {
                                   for (std::size_t i = 0; i < work.length; ++i)
                                     reinterpret_cast<float*>(work.to)[i] =
                                         work.factor * reinterpret_cast<const float*>(work.from)[i];
                                 },
                                 nullptr};

/// y = expert's number * x, for all rows of a slot's room; in f32.
void scale_by_expert(Queue& queue, std::span<const ExpertId> experts, const ArrangedRows& rows,
                     std::size_t hidden, const RowArrangement& arrangement) {
  std::size_t place = 0;
  for (std::size_t slot = 0; slot < experts.size(); ++slot) {
    const std::size_t room = arrangement.room_for(static_cast<std::uint32_t>(rows.host_counts[slot]));
    for (std::size_t i = place; i < place + room; ++i) {
      queue.run(scale_row, {rows.rows + i * hidden * sizeof(float), rows.results + i * hidden * sizeof(float),
                            hidden, static_cast<float>(index(experts[slot]))});
    }
    place += room;
  }
  EXPECT_EQ(place, rows.num_places);
}

TEST(DeviceLayerContract, SlotsOfOneExpertOnARankShareItsWeights) {
  run_ranks(1, test::patience, [](Communicator& communicator) {
    const Placement placement(0, 3, {{expert_at(0), expert_at(1), expert_at(0), expert_at(2)}});
    LayerOnDevice::Options options;
    options.layer.staging_slots = 1;
    LayerOnDevice layer(communicator, loopback_backend(), {{16, 24}, 3, {2, true}}, placement, options);
    if (!layer) return;
    const std::vector<DeviceExpertWeights>& slots = layer->weights().slots();
    EXPECT_EQ(slots[0], slots[2]);
    EXPECT_EQ(std::set(slots.begin(), slots.end()).size(), 3U);
  });
}

TEST(DeviceLayerContract, ACallersExpertsGetTheirRowsArrangedAsTheyAsk) {
  const RoutingCase c = test::routing_cases().front();
  const std::size_t hidden = c.spec.expert.hidden;
  const std::vector<float> x = random_floats(c.num_tokens * hidden, 5);
  for (const RowArrangement& arrangement :
       {RowArrangement{0, 1}, RowArrangement{0, 8}, RowArrangement{300, 1}}) {
    LayerOnDevice::Options options;
    options.arrangement = arrangement;
    options.function = [&](Queue& queue, std::span<const ExpertId> experts, const ArrangedRows& rows) {
      scale_by_expert(queue, experts, rows, hidden, arrangement);
    };
    on_every_device(c.spec, options, [&](LayerOnDevice& layer) {
      if (!layer.lane().device().is_emulated()) return;  // the function is one of the host
      const test::Share share = share_of(c.num_tokens, layer.engine().communicator());
      const test::OwnedRouting routing = make_routing(c, share.first, share.count);
      const Routing mine = routing;
      const std::vector<float> own = part_of(x, share, hidden);
      const std::vector<float> y = layer.forward(own, &mine);
      for (std::size_t i = 0; i < y.size(); ++i) {
        float expected = 0;
        for (std::size_t k = 0; k < routing.top_k; ++k) {
          const std::size_t choice = i / hidden * routing.top_k + k;
          expected += routing.weights[choice] * (static_cast<float>(index(routing.experts[choice])) * own[i]);
        }
        ASSERT_EQ(y[i], expected);
      }
    });
  }
}

/// y = sum over the row's choices here of weight * expert's number * x, in f32; as a kernel, since only what
/// runs in the queue may look.
struct SumChoices {
  ArrangedRows arranged;
  const ExpertId* experts;
  std::size_t hidden;
  std::size_t top_k;
};

const Kernel<SumChoices> sum_choices{
    "sum_choices",
    [](const SumChoices& work) {
      for (std::size_t place = 0; place < work.arranged.num_places; ++place) {
        float factor = 0;
        for (std::size_t i = place * work.top_k; i < (place + 1) * work.top_k; ++i) {
          if (work.arranged.slots[i] < 0) continue;
          const ExpertId expert = work.experts[work.arranged.slots[i]];
          factor += work.arranged.weights[i] * static_cast<float>(index(expert));
        }
        const auto* const x = reinterpret_cast<const float*>(work.arranged.rows) + place * work.hidden;
        auto* const y = reinterpret_cast<float*>(work.arranged.results) + place * work.hidden;
        for (std::size_t column = 0; column < work.hidden; ++column) y[column] = factor * x[column];
      }
    },
    nullptr};

TEST(DeviceLayerContract, ACallersExpertsGetEachRowOnceBySourceAndReturnItsSum) {
  const RoutingCase c = test::routing_cases().front();
  const std::size_t hidden = c.spec.expert.hidden;
  const std::vector<float> x = random_floats(c.num_tokens * hidden, 5);
  for (const std::uint32_t capacity : {0U, 256U}) {
    LayerOnDevice::Options options;
    options.layer.combine = Combine::fast;
    options.arrangement = {capacity, 1, RowOrder::by_source};
    options.function = [&](Queue& queue, std::span<const ExpertId> experts, const ArrangedRows& rows) {
      const std::int64_t num_rows =
          std::accumulate(rows.host_counts.begin(), rows.host_counts.end(), std::int64_t{0});
      EXPECT_EQ(rows.num_places,
                capacity > 0 ? capacity * rows.host_counts.size() : static_cast<std::size_t>(num_rows));
      queue.run(sum_choices, {rows, experts.data(), hidden, c.spec.router.top_k});
    };
    on_every_device(c.spec, options, [&](LayerOnDevice& layer) {
      if (!layer.lane().device().is_emulated()) return;  // the function is one of the host
      const test::Share share = share_of(c.num_tokens, layer.engine().communicator());
      const test::OwnedRouting routing = make_routing(c, share.first, share.count);
      const Routing mine = routing;
      const std::vector<float> own = part_of(x, share, hidden);
      const std::vector<float> y = layer.forward(own, &mine);
      for (std::size_t i = 0; i < y.size(); ++i) {
        float factor = 0;
        for (std::size_t k = 0; k < routing.top_k; ++k) {
          const std::size_t choice = i / hidden * routing.top_k + k;
          factor += routing.weights[choice] * static_cast<float>(index(routing.experts[choice]));
        }
        ASSERT_NEAR(y[i], factor * own[i], 1e-5F * (1 + std::abs(y[i])));
      }
    });
  }
}

TEST(DeviceLayerContract, RowsBySourceAreForFastSumsAndHaveRoomForAllTokens) {
  const LayerSpec spec{{16, 24}, 8, {2, true}};
  for (const auto& [combine, capacity, words] :
       {std::tuple{Combine::reproducible, 0U, "combines fast"}, std::tuple{Combine::fast, 255U, "all 256"}}) {
    LayerOnDevice::Options options;
    options.layer.combine = combine;
    options.arrangement = {capacity, 1, RowOrder::by_source};
    options.function = [](Queue&, std::span<const ExpertId>, const ArrangedRows&) {};
    on_every_rank(
        [&, chosen = &options, expected = words](Communicator& communicator, const Backend& backend) {
          expect_shared_error(ErrorKind::invalid_input, expected, [&] {
            LayerOnDevice layer(communicator, backend, spec,
                                contiguous_placement(spec.num_experts, communicator.size()), *chosen);
            if (!layer) throw Error(ErrorKind::invalid_input, expected, ErrorScope::shared);
          });
        });
  }
}

TEST(DeviceLayerContract, MoreRowsThanACapacityHasRoomForFailOnAllRanks) {
  const RoutingCase c = test::routing_cases()[6];
  ASSERT_EQ(c.name, "all to the first experts");
  const std::vector<float> x = random_floats(c.num_tokens * c.spec.expert.hidden, 5);
  LayerOnDevice::Options options;
  options.arrangement = {static_cast<std::uint32_t>(c.num_tokens - 1), 1};
  options.function = [](Queue&, std::span<const ExpertId>, const ArrangedRows&) {};
  on_every_device(c.spec, options, [&](LayerOnDevice& layer) {
    const test::Share share = share_of(c.num_tokens, layer.engine().communicator());
    const test::OwnedRouting routing = make_routing(c, share.first, share.count);
    const Routing mine = routing;
    expect_shared_error(ErrorKind::invalid_input, "room for 99",
                        [&] { layer.forward(part_of(x, share, c.spec.expert.hidden), &mine); });
  });
}

TEST(DeviceLayerContract, AnUnusableInputOnOneRankFailsAllAndLeavesTheLayerUsable) {
  const LayerSpec spec{{16, 24}, 8, {2, true}};
  LayerOnDevice::Options options;
  options.max_tokens = 5;
  on_every_device(spec, options, [&](LayerOnDevice& layer) {
    const bool is_first = layer.engine().communicator().rank() == Rank{0};
    const std::vector<float> x = random_floats(4 * 16, 5);
    const std::vector<float> before = layer.forward(x);
    std::vector<float> bad = x;
    if (is_first) bad[2 * 16 + 3] = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> y(x.size());
    expect_shared_error(ErrorKind::invalid_input, "token 2", [&] { layer.forward(bad); });
    expect_shared_error(ErrorKind::invalid_input, "more than 5",
                        [&] { layer.forward(is_first ? random_floats(6 * 16, 5) : x); });
    expect_shared_error(ErrorKind::invalid_input, "not both",
                        [&] { layer->forward(std::span<const float>(x.data(), 17), y); });
    const test::OwnedRouting wrong{4, 2, std::vector<ExpertId>(8, ExpertId{8}), std::vector<float>(8, 0.5F)};
    const Routing routing = wrong;
    expect_shared_error(ErrorKind::invalid_input, "expert 8",
                        [&] { layer.forward(x, is_first ? &routing : nullptr); });
    EXPECT_EQ(layer.forward(x), before);
  });
}

TEST(DeviceLayerContract, RefusesWhatDevicesDoNotHave) {
  const LayerSpec spec{{16, 24}, 8, {2, true}};
  std::vector<std::pair<std::string, LayerOnDevice::Options>> refused(2);
  refused[0].second.layer.split = SplitMode::stored;
  refused[1].second.engine.verify = VerifyLevel::audit;
  refused[1].second.layer.combine = Combine::fast;
  for (const auto& [name, options] : refused) {
    on_every_rank([&, chosen = &options](Communicator& communicator, const Backend& backend) {
      expect_shared_error(ErrorKind::invalid_input, "on devices", [&] {
        LayerOnDevice layer(communicator, backend, spec,
                            contiguous_placement(spec.num_experts, communicator.size()), *chosen);
        if (!layer) throw Error(ErrorKind::invalid_input, "on devices: no GPU", ErrorScope::shared);
      });
    });
  }
}

}  // namespace
}  // namespace moewe
