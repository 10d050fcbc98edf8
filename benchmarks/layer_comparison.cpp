#include "benchmarks/layer_comparison.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

#include "comm/error.hpp"
#include "runtime/kernels/elementwise.hpp"
#include "tests/support/generated_model.hpp"
#include "tests/support/oracle.hpp"

namespace moewe::bench {
namespace {

std::vector<Bf16> to_bf16(const std::vector<float>& values) {
  std::vector<Bf16> rounded(values.size());
  round_to_bf16(values, rounded);
  return rounded;
}

std::vector<float> make_tokens(const LayerCase& c, Rank rank) {
  std::vector<float> x = test::random_floats(c.tokens_per_rank * c.spec.expert.hidden, 100 + index(rank));
  if (c.dtype == Dtype::bf16) round_in_place_to_bf16(x);
  return x;
}

EngineOptions engine_options(const LayerCase& c) {
  EngineOptions options;
  options.threads = c.threads;
  return options;
}

}  // namespace

LayerComparison::LayerComparison(Communicator& communicator, const Backend& backend,
                                 const LayerCase& layer_case, const KeptWeights& weights)
    : communicator_(communicator.child()),
      case_(layer_case),
      weights_(weights),
      x_(make_tokens(case_, communicator.rank())),
      x_bf16_(to_bf16(x_)),
      y_(x_.size()),
      engine_(communicator, backend, engine_options(case_)),
      layer_(engine_, case_.spec, contiguous_placement(case_.spec.num_experts, communicator.size()), weights,
             {.dtype = case_.dtype, .combine = Combine::reproducible, .capacity = {}, .chunk_bytes = 0}),
      ways_(ways_for(case_.dtype, case_.threads)) {
  time_step();
  check_layer();
  learn_rows();
  check_bare();
}

void LayerComparison::learn_rows() {
  const Rank rank = communicator_->rank();
  const auto& computed = layer_.report().computed_per_slot;
  const auto experts = layer_.placement().experts_of(rank);
  ExpertWork work{.shape = case_.spec.expert, .experts = {}, .rows = {}, .dtype = case_.dtype};
  for (std::size_t slot = 0; slot < computed.size(); ++slot) {
    if (computed[slot] == 0) continue;
    work.experts.push_back(experts[slot]);
    work.rows.push_back(static_cast<std::size_t>(computed[slot]));
  }
  rows_per_rank_ =
      all_gather_values(*communicator_, std::accumulate(computed.begin(), computed.end(), std::int64_t{0}));
  const auto busiest = std::max_element(rows_per_rank_.begin(), rows_per_rank_.end());
  busier_rank_ = static_cast<std::size_t>(busiest - rows_per_rank_.begin());
  busier_flops_ = all_gather_values(*communicator_, work.flops())[busier_rank_];
  if (work.rows.empty()) return;
  own_.emplace(work, weights_, engine_.matmuls(), case_.threads);
  for (const BareWay& way : ways_) {
    bare_.push_back(std::make_unique<BareExperts>(work, weights_, *own_, way, case_.threads));
  }
}

std::vector<double> LayerComparison::on_all_ranks(const std::function<void()>& work) {
  communicator_->barrier();
  return all_gather_values(*communicator_, seconds_of(work));
}

double LayerComparison::time_step() {
  const std::vector<double> seconds = on_all_ranks(
      [&] { layer_.forward(case_.dtype == Dtype::f32 ? TokenRows(x_) : TokenRows(x_bf16_), y_); });
  const auto slowest = std::max_element(seconds.begin(), seconds.end());
  const auto phases = all_gather_values(*communicator_, layer_.report().seconds);
  const auto& of_slowest = phases[static_cast<std::size_t>(slowest - seconds.begin())];
  for (std::size_t phase = 0; phase < num_phases; ++phase) phases_[phase].push_back(of_slowest[phase]);
  return *slowest;
}

double LayerComparison::time_bare(std::size_t way) {
  const std::vector<double> seconds = on_all_ranks([&] {
    if (own_) bare_[way]->run();
  });
  slowest_[way].push_back(*std::max_element(seconds.begin(), seconds.end()));
  return seconds[busier_rank_];
}

std::vector<Contestant> LayerComparison::contestants() {
  std::vector<Contestant> all;
  for (const char* name : {"step", "step again"}) all.push_back({name, [this] { return time_step(); }});
  all.push_back({"own experts", [this] {
                   return on_all_ranks([&] {
                     if (own_) own_->run();
                   })[busier_rank_];
                 }});
  for (std::size_t way = 0; way < ways_.size(); ++way) {
    all.push_back({ways_[way].name(), [this, way] { return time_bare(way); }, true});
  }
  return all;
}

void LayerComparison::run() {
  for (auto& phase : phases_) phase.clear();
  slowest_.assign(ways_.size(), {});
  times_ = alternate(contestants(),
                     {.least_rounds = case_.iterations, .most_rounds = case_.iterations, .seconds = 0});
  for (auto& of_way : slowest_) of_way.erase(of_way.begin());  // alternate() does not count its first round
  time_step();
  check_layer();
  check_bare();
}

void LayerComparison::check_layer() {
  constexpr std::size_t num_checked = 2;
  const std::size_t count = std::min(num_checked, case_.tokens_per_rank);
  const std::size_t hidden = case_.spec.expert.hidden;
  const std::vector<double> expected = test::plain_moe(
      case_.spec, weights_, layer_.routing().tokens(0, count), std::span(x_).first(count * hidden));
  const double tolerance = case_.dtype == Dtype::f32 ? 2e-5 : 2e-2;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::abs(y_[i] - expected[i]) <= tolerance * (0.5 + std::abs(expected[i]))) continue;
    throw Error(ErrorKind::verification,
                fmt::format("token {} of rank {} has {} at {}, plain loops {}", i / hidden,
                            number(communicator_->rank()), y_[i], i % hidden, expected[i]));
  }
}

void LayerComparison::check_bare() {
  if (!own_) return;
  own_->run();
  own_->expect_all_counted();
  for (const auto& bare : bare_) bare->expect_same(*own_);
}

std::size_t LayerComparison::fastest() const {
  std::vector<double> medians;
  for (std::size_t way = 0; way < ways_.size(); ++way) medians.push_back(bare(way).median);
  return static_cast<std::size_t>(std::min_element(medians.begin(), medians.end()) - medians.begin());
}

double LayerComparison::phase_seconds(std::size_t phase) const { return spread_of(phases_[phase]).median; }

}  // namespace moewe::bench
