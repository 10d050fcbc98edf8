#include <cmath>
#include <gtest/gtest.h>
#include <optional>

#include "tests/support/layer_runs.hpp"
#include "tests/support/oracle.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe {
namespace {

using test::bf16_floats;
using test::expect_shared_error;
using test::forward;
using test::make_layer;
using test::make_routing;
using test::on_every_exchange;
using test::on_every_rank;
using test::OwnedRouting;
using test::part_of;
using test::RoutingCase;
using test::Share;
using test::share_of;

/// A kind of expert in a type.
struct Variant {
  std::string name;
  Activation activation;
  bool gated;
  std::size_t shared_intermediate;
  Dtype dtype;
};

std::vector<Variant> variants() {
  std::vector<Variant> all;
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    for (const std::size_t shared : {0U, 17U}) {
      const std::string suffix = std::string(shared == 0 ? "" : ", shared") + ", " + name_of(dtype);
      all.push_back({"gated silu" + suffix, Activation::silu, true, shared, dtype});
      all.push_back({"gated gelu" + suffix, Activation::gelu, true, shared, dtype});
      all.push_back({"two-matrix relu" + suffix, Activation::relu, false, shared, dtype});
    }
  }
  return all;
}

/// All tokens of a case with one variant's experts.
struct Sample {
  std::string name;
  LayerSpec spec;
  LayerOptions options;
  std::size_t num_tokens;
  OwnedRouting routing;
  std::vector<float> x;  ///< as bf16 holds it
  std::vector<float> y;  ///< on one rank

  OwnedRouting routing_of(const Share& share) const {
    const std::size_t k = routing.top_k;
    return {share.count, k, part_of(routing.experts, share, k), part_of(routing.weights, share, k)};
  }
};

Sample make_sample(const RoutingCase& c, const Variant& variant) {
  Sample sample{c.name + ", " + variant.name,     c.spec, {}, c.num_tokens,
                make_routing(c, 0, c.num_tokens), {},     {}};
  sample.spec.expert.activation = variant.activation;
  sample.spec.expert.gated = variant.gated;
  sample.spec.shared_intermediate = variant.shared_intermediate;
  sample.options.dtype = variant.dtype;
  sample.x = bf16_floats(c.num_tokens * c.spec.expert.hidden, 5);
  return sample;
}

void run_on_one_rank(std::vector<Sample>& samples) {
  test::with_engine_of_one_rank([&](Engine& engine) {
    for (Sample& sample : samples) {
      MoeLayer layer = make_layer(engine, sample.spec, sample.options);
      sample.y = forward(layer, sample.x, sample.routing);
    }
  });
}

/// Every variant of every case.
const std::vector<Sample>& samples() {
  static const std::vector<Sample> all = [] {
    std::vector<Sample> made;
    for (const RoutingCase& c : test::routing_cases()) {
      for (const Variant& variant : variants()) made.push_back(make_sample(c, variant));
    }
    run_on_one_rank(made);
    return made;
  }();
  return all;
}

/// This rank's share of a sample through a layer that may combine in another way.
std::vector<float> run_share(Engine& engine, const Sample& sample, const LayerOptions& options) {
  const Share share = share_of(sample.num_tokens, engine.communicator());
  MoeLayer layer = make_layer(engine, sample.spec, options);
  return forward(layer, part_of(sample.x, share, sample.spec.expert.hidden), sample.routing_of(share));
}

std::vector<float> share_of_result(Engine& engine, const Sample& sample) {
  return part_of(sample.y, share_of(sample.num_tokens, engine.communicator()), sample.spec.expert.hidden);
}

/// Root of the mean square, over the values of all tokens of several samples.
class Deviation {
 public:
  void add(double value, double expected) {
    square_of_difference_ += (value - expected) * (value - expected);
    square_of_expected_ += expected * expected;
  }
  double relative() const { return std::sqrt(square_of_difference_ / square_of_expected_); }

 private:
  double square_of_difference_ = 0;
  double square_of_expected_ = 0;
};

std::vector<double> plain_result(const Sample& sample, Dtype dtype) {
  return plain_moe(sample.spec, test::GeneratedWeights(sample.spec, test::weights_seed), sample.routing,
                   sample.x, dtype);
}

TEST(LayerNumbersContract, EveryKindOfExpertHasTheBitsOfOneRankOnAnyPath) {
  const std::vector<Sample>& all = samples();
  for (std::size_t exchange = 0; exchange < test::exchanges().size(); ++exchange) {
    const auto [name, options] = test::exchanges()[exchange];
    SCOPED_TRACE(name);
    on_every_rank([&](Communicator& communicator, const Backend& backend) {
      Engine engine(communicator, backend, options);
      for (std::size_t i = 0; i < all.size(); ++i) {
        // Each variant and each case meets every exchange.
        if ((i + i / variants().size()) % test::exchanges().size() != exchange) continue;
        EXPECT_EQ(run_share(engine, all[i], all[i].options), share_of_result(engine, all[i])) << all[i].name;
      }
    });
  }
}

TEST(LayerNumbersContract, F32IsAsCloseToPlainLoopsAsItsRoundingsAllow) {
  for (const Sample& sample : samples()) {
    if (sample.options.dtype != Dtype::f32) continue;
    const std::vector<double> expected = plain_result(sample, Dtype::f32);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(sample.y[i], expected[i], 2e-6 * (1 + std::abs(expected[i])))
          << sample.name << ", value " << i;
    }
  }
}

TEST(LayerNumbersContract, Bf16IsAsCloseToPlainLoopsAsItsRoundingsAllow) {
  // Each value of h and of an output row is rounded once, with a relative error of at most 2^-9. Errors of
  // different values are independent: those of h add up in an output to about 2^-9 of its root of the mean
  // square, as do those of the outputs in the sum over k. Together they stay below sqrt(2) 2^-9 = 2.8e-3.
  for (const Variant& variant : variants()) {
    if (variant.dtype != Dtype::bf16) continue;
    Deviation deviation;
    for (const RoutingCase& c : test::routing_cases()) {
      std::vector<Sample> one{make_sample(c, variant)};
      run_on_one_rank(one);
      const std::vector<double> expected = plain_result(one[0], Dtype::f32);
      for (std::size_t i = 0; i < expected.size(); ++i) deviation.add(one[0].y[i], expected[i]);
    }
    EXPECT_LT(deviation.relative(), 3e-3) << variant.name;
    EXPECT_GT(deviation.relative(), 3e-4) << variant.name << ": nothing was rounded";
  }
}

TEST(LayerNumbersContract, Bf16RoundsHiddenActivationsAndOutputRowsOnceAndNothingElse) {
  // Where a value lies so close to the middle of two bf16 that f32 and double round it differently, a result
  // may differ by far more than f32's errors; such values are few. One rounding more or less would move
  // nearly all.
  std::size_t num_equal = 0, num_values = 0;
  for (const Sample& sample : samples()) {
    if (sample.options.dtype != Dtype::bf16) continue;
    const std::vector<double> expected = plain_result(sample, Dtype::bf16);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      if (std::abs(sample.y[i] - expected[i]) <= 2e-6 * (1 + std::abs(expected[i]))) ++num_equal;
    }
    num_values += expected.size();
  }
  EXPECT_GT(static_cast<double>(num_equal), 0.97 * static_cast<double>(num_values));
}

TEST(LayerNumbersContract, CombinedFastIsCloseAndTheSameInEveryRun) {
  // A sum over k in another order differs by some 2^-24. In bf16 each rank's partial sum is rounded once
  // more, with a relative error of at most 2^-9.
  on_every_exchange([&](Engine& engine) {
    for (std::size_t i = 0; i < samples().size(); i += 7) {
      const Sample& sample = samples()[i];
      LayerOptions fast = sample.options;
      fast.combine = Combine::fast;
      const std::vector<float> y = run_share(engine, sample, fast);
      EXPECT_EQ(run_share(engine, sample, fast), y) << sample.name;
      const std::vector<float> expected = share_of_result(engine, sample);
      Deviation deviation;
      for (std::size_t v = 0; v < y.size(); ++v) deviation.add(y[v], expected[v]);
      if (y.empty()) continue;
      EXPECT_LT(deviation.relative(), fast.dtype == Dtype::f32 ? 3e-7 : 4e-3) << sample.name;
    }
  });
}

TEST(LayerNumbersContract, CombinedFastOnOneRankOrOfOneChoiceIsTheSumRoundedOnce) {
  // One partial sum per token, in the order of k: in f32 it is the reproducible sum itself.
  on_every_exchange([&](Engine& engine) {
    for (const Sample& sample : samples()) {
      const bool is_one_part = engine.communicator().size() == 1 || sample.spec.router.top_k == 1;
      if (!is_one_part || sample.spec.has_shared_expert()) continue;
      LayerOptions fast = sample.options;
      fast.combine = Combine::fast;
      std::vector<float> expected = share_of_result(engine, sample);
      if (fast.dtype == Dtype::bf16) {
        for (float& value : expected) value = widen(round_to_bf16(value));
      }
      EXPECT_EQ(run_share(engine, sample, fast), expected) << sample.name;
    }
  });
}

TEST(LayerNumbersContract, RowsOfAnotherTypeThanTheLayersAreRefusedTogether) {
  const LayerSpec spec{{16, 24}, 4, {2, true}};
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    Engine engine(communicator, backend, {});
    LayerOptions options;
    options.dtype = Dtype::bf16;
    MoeLayer layer = make_layer(engine, spec, options);
    const std::vector<float> x = bf16_floats(3 * 16, 5);
    std::vector<float> y(x.size()), again(x.size());
    const Dtype wrong_on_the_last =
        index(communicator.rank()) + 1 == communicator.size() ? Dtype::f32 : Dtype::bf16;
    expect_shared_error(ErrorKind::invalid_input, "rows are f32, but the layer runs in bf16",
                        [&] { layer.forward(test::StoredRows(x, wrong_on_the_last), y); });
    layer.forward(test::StoredRows(x, Dtype::bf16), y);
    layer.forward(test::StoredRows(x, Dtype::bf16), again);
    EXPECT_EQ(y, again);
  });
}

TEST(LayerNumbersContract, RanksThatPassDifferentOptionsAreToldSo) {
  const LayerSpec spec{{16, 24}, 4, {2, true}};
  LayerOptions bf16, fast, bounded, more, dropping, renormalised, by_another_rule;
  bf16.dtype = Dtype::bf16;
  fast.combine = Combine::fast;
  bounded.capacity = more.capacity = dropping.capacity = renormalised.capacity = by_another_rule.capacity =
      CapacityOptions{};
  more.capacity->factor = 1.25;
  dropping.capacity->policy = OverflowPolicy::drop_lowest_weight;
  renormalised.capacity->renormalise = true;
  by_another_rule.capacity->rule = CapacityRule::mesh;
  struct Pair {
    LayerOptions here, elsewhere;
    std::string field;
  };
  const std::vector<Pair> pairs{{{}, bf16, "the dtype: 0 on rank 0, 1 on rank"},
                                {{}, fast, "the way to combine"},
                                {{}, bounded, "the bounded capacity: 0 on rank 0, 1 on rank"},
                                {bounded, more, "the capacity factor"},
                                {bounded, dropping, "the overflow policy"},
                                {bounded, renormalised, "the renormalisation of kept weights"},
                                {bounded, by_another_rule, "the capacity rule"}};
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    if (communicator.size() == 1) return;
    Engine engine(communicator, backend, {});
    for (const Pair& pair : pairs) {
      const LayerOptions& mine = communicator.rank() == Rank{0} ? pair.here : pair.elsewhere;
      expect_shared_error(ErrorKind::disagreement, pair.field, [&] { make_layer(engine, spec, mine); });
    }
    MoeLayer layer = make_layer(engine, spec, bounded);  // still in step
    const std::vector<float> x = bf16_floats(16, 5);
    std::vector<float> y(16);
    layer.forward(x, y);
  });
}

TEST(LayerNumbersContract, AMemoryLimitOnSomeRanksOnlyIsSaid) {
  const LayerSpec spec{{16, 24}, 4, {2, true}};
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    if (communicator.size() == 1) return;
    EngineOptions options;
    options.memory_limit = communicator.rank() == Rank{1} ? std::size_t{1} << 30 : 0;
    Engine engine(communicator, backend, options);
    expect_shared_error(ErrorKind::disagreement, "memory limit", [&] { make_layer(engine, spec); });
  });
}

}  // namespace
}  // namespace moewe
