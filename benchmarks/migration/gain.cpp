#include "benchmarks/migration/gain.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "placement/stages.hpp"
#include "tests/support/generated_model.hpp"

namespace moewe::bench {
namespace {

ForcedRouting routing_of(const MigrationCase& migration_case, bool is_skewed) {
  const ForcedRoutingSpec skewed{Popularity::lognormal, migration_case.sigma};
  return {is_skewed ? skewed : ForcedRoutingSpec{}, migration_case.seed, migration_case.spec.num_experts,
          migration_case.spec.router.top_k};
}

RebalanceRequest request_of(const MigrationCase& migration_case) {
  return {.mode = RebalanceMode::automatic,
          .every = 0,
          .spare_slots = migration_case.spares,
          .budget_bytes = migration_case.budgets.front()};
}

}  // namespace

GainContest::GainContest(Communicator& communicator, const Backend& backend,
                         const MigrationCase& migration_case)
    : communicator_(communicator.child()),
      case_(migration_case),
      engine_(communicator, backend, engine_options(case_)),
      still_(make_layers(0, 0)),
      copied_(make_layers(case_.spares, 0)),
      moving_(make_layers(case_.spares, 1)),
      watched_(make_layers(case_.spares, 1)),
      budget_(communicator_->topology(), case_.budgets.front(), std::nullopt) {
  add_way("even", false, still_);
  add_way("even again", false, still_);
  add_way("skewed", true, still_);
  add_way("skewed, copies", true, copied_);
  add_way("skewed, moving", true, moving_);
  add_way("even, could move", false, watched_);
}

GainContest::Layers GainContest::make_layers(std::size_t spares, std::size_t staging) {
  LayerOptions options;
  options.dtype = case_.dtype;
  options.staging_slots = staging;
  const Placement placement = contiguous_placement(case_.spec.num_experts, communicator_->size());
  Layers layers;
  layers.emplace_back(std::make_unique<MoeLayer>(engine_, case_.spec, with_spare_copies(placement, spares),
                                                 test::GeneratedWeights(case_.spec, 1), options));
  return layers;
}

void GainContest::add_way(const char* name, bool is_skewed, Layers& layers) {
  ways_.push_back(std::make_unique<Way>(
      Way{name, is_skewed, layers, routing_of(case_, is_skewed), Batch(case_, *communicator_)}));
  if (!layers.front().on_cores()->options().can_migrate()) return;
  ways_.back()->rebalancing.emplace(*communicator_, request_of(case_), budget_, layers,
                                    std::vector<std::size_t>{0});
}

/// Seconds on this rank.
double GainContest::run_step(Way& way) {
  MoeLayer& layer = *way.layers.front().on_cores();
  Batch& batch = way.batch;
  way.routing.read(0, way.num_steps, own_tokens(case_, *communicator_), batch.experts, batch.weights);
  communicator_->barrier();
  const double begun = seconds_on(Clock::wall);
  layer.forward(batch.x(), batch.routing(), batch.y);
  const auto loads = layer.report().kept_per_expert();
  const std::vector<std::int64_t> load(loads.begin(), loads.end());
  if (way.rebalancing) way.deciding_seconds += way.rebalancing->step_done(way.num_steps, {&load, 1});
  const double seconds = seconds_on(Clock::wall) - begun;
  way.seconds += seconds;
  way.sum_of_imbalances += imbalance(layer.report().assignments_per_rank);
  ++way.num_counted;
  ++way.num_steps;
  return seconds;
}

/// Returns the median.
double GainContest::run_steps(Way& way, std::size_t num_steps) {
  std::vector<double> mine;
  for (std::size_t step = 0; step < num_steps; ++step) mine.push_back(run_step(way));
  way.medians.push_back(spread_of(most_of_ranks(*communicator_, mine)).median);
  return way.medians.back();
}

void GainContest::settle() {
  constexpr std::size_t num_turns = 5;
  for (std::size_t turn = 0; turn < num_turns; ++turn) {
    for (const auto& way : ways_)
      run_steps(*way, case_.settle_steps * (turn + 1) / num_turns - case_.settle_steps * turn / num_turns);
  }
  for (const auto& way : ways_) forget(*way);
}

void GainContest::forget(Way& way) {
  way.medians.clear();
  way.seconds = way.deciding_seconds = way.sum_of_imbalances = 0;
  way.num_counted = 0;
  way.settling_moves = way.rebalancing ? way.rebalancing->totals().moves : 0;
}

void GainContest::run() {
  settle();
  std::vector<Contestant> contestants;
  for (const auto& way : ways_)
    contestants.push_back({way->name, [this, &way = *way] { return run_steps(way, case_.steps); }});
  alternate(contestants, {.least_rounds = case_.pairs, .most_rounds = case_.pairs, .seconds = 0});
  for (const auto& way : ways_) {
    way->medians.erase(way->medians.begin());  // which is not counted
    const std::array<double, 1> mine{way->deciding_seconds / way->seconds};
    way->deciding_share = most_of_ranks(*communicator_, mine).front();
    if (way->rebalancing) way->rebalancing->finish();
  }
  check();
}

/// All have run the same steps.
void GainContest::check() {
  for (const auto& way : ways_) {
    const auto first = std::find_if(ways_.begin(), ways_.end(),
                                    [&](const auto& other) { return other->is_skewed == way->is_skewed; });
    require_same(way->batch.y, (*first)->batch.y);
  }
}

std::vector<GainContest::Result> GainContest::results() const {
  std::vector<Result> results;
  for (const auto& way : ways_) {
    Result result{.name = way->name,
                  .median_s = spread_of(way->medians),
                  .ratio = spread_of(ratios(way->medians, ways_[0]->medians)),
                  .imbalance = way->sum_of_imbalances / static_cast<double>(way->num_counted),
                  .settling_moves = way->settling_moves,
                  .deciding_share = way->deciding_share};
    if (way->rebalancing) {
      result.moves = way->rebalancing->totals().moves - way->settling_moves;
      result.log = way->rebalancing->totals().log;
    }
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace moewe::bench
