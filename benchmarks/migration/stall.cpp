#include "benchmarks/migration/stall.hpp"

#include <array>
#include <fmt/format.h>
#include <numeric>
#include <utility>

#include "comm/error.hpp"
#include "comm/link_measurement.hpp"
#include "launch/migration_budget.hpp"
#include "tests/support/generated_model.hpp"

namespace moewe::bench {
namespace {

using Experts = std::vector<std::vector<ExpertId>>;

Placement checked_home(const MigrationCase& migration_case, std::size_t num_ranks) {
  const std::size_t num_experts = migration_case.spec.num_experts;
  if (num_ranks < 2 || num_experts < num_ranks) {
    throw InvalidInput(
        fmt::format("experts can be exchanged between two ranks or more with an expert each, not {} "
                    "experts on {}",
                    num_experts, num_ranks));
  }
  return contiguous_placement(num_experts, num_ranks);
}

/// Where experts are at home, or each rank's first one is on the rank half of all ranks away.
Placement exchanged(const Placement& home, bool is_home, std::uint64_t epoch) {
  const std::size_t num_ranks = home.num_ranks();
  Experts experts;
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    const auto own = home.experts_of(rank_at(rank));
    experts.emplace_back(own.begin(), own.end());
    const Rank other = rank_at((rank + num_ranks / 2) % num_ranks);
    if (!is_home) experts.back().front() = home.experts_of(other).front();
  }
  return {epoch, home.num_experts(), std::move(experts)};
}

LayerOptions layer_options(const MigrationCase& migration_case) {
  LayerOptions options;
  options.dtype = migration_case.dtype;
  options.staging_slots = 1;
  return options;
}

std::vector<double> seconds_between(const std::vector<double>& ends) {
  std::vector<double> seconds(ends.size());
  std::adjacent_difference(ends.begin(), ends.end(), seconds.begin());
  seconds.erase(seconds.begin());
  return seconds;
}

double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

}  // namespace

StallContest::StallContest(Communicator& communicator, const Backend& backend,
                           const MigrationCase& migration_case)
    : communicator_(communicator.child()),
      case_(migration_case),
      batch_(case_, communicator),
      engine_(communicator, backend, engine_options(case_)),
      layer_(engine_, case_.spec, checked_home(case_, communicator.size()),
             test::GeneratedWeights(case_.spec, 1), layer_options(case_)),
      home_(layer_.placement()),
      ways_{{.name = "still"}, {.name = "still again"}} {
  choose_experts();
  forward();
  expected_ = batch_.y;
  add_ways(backend);
}

/// Every rank's first expert goes half of all ranks away: inside the node where there is one alone.
void StallContest::add_ways(const Backend& backend) {
  for (const std::size_t given : case_.budgets) {
    const std::size_t budget = given > 0 ? given : automatic_budget(backend);
    ways_.push_back({.name = fmt::format("moving, {}{} KiB", given > 0 ? "" : "auto: ", budget >> 10U),
                     .budget = budget});
    if (communicator_->topology().num_nodes() > 1) continue;
    ways_.push_back(ways_.back());
    ways_.back().name += ", messages";
    ways_.back().path = PathRequest::message;
  }
}

/// As `moewe run` chooses it, from links that are measured now and a few steps.
std::size_t StallContest::automatic_budget(const Backend& backend) {
  constexpr int num_steps = 32;
  const Topology& topology = communicator_->topology();
  std::optional<LinkCost> link;
  if (topology.num_nodes() > 1)
    link = measure_links(*communicator_, {&backend, 1}, {}).carriers.front().between_nodes;
  MigrationBudget budget(topology, 0, link);
  for (int step = 0; step < num_steps; ++step) {
    const double begun = seconds_on(Clock::wall);
    forward();
    budget.step_done(*communicator_, seconds_on(Clock::wall) - begun);
  }
  if (communicator_->rank() == Rank{0}) fmt::print("auto: {} bytes: {}\n", budget.bytes(), budget.reason());
  return budget.bytes();
}

/// One after the other, and a token's as far apart as can be.
void StallContest::choose_experts() {
  const std::size_t num_experts = case_.spec.num_experts, top_k = case_.spec.router.top_k;
  const TokenRange tokens = own_tokens(case_, *communicator_);
  for (std::size_t t = 0; t < tokens.count; ++t) {
    for (std::size_t k = 0; k < top_k; ++k)
      batch_.experts[t * top_k + k] = expert_at((tokens.first + t + k * (num_experts / top_k)) % num_experts);
  }
}

void StallContest::forward() { layer_.forward(batch_.x(), batch_.routing(), batch_.y); }

void StallContest::begin_move(const Way& way) {
  is_home_ = !is_home_;
  layer_.migrate(exchanged(home_, is_home_, layer_.placement().epoch() + 1),
                 {.bytes_per_step = way.budget, .path = way.path});
}

void StallContest::end_move() {
  while (is_moving()) forward();
  expects(layer_.migration().num_cancelled == 0, "migrations of a benchmark succeed");
}

/// Seconds of each step on this rank.
std::vector<double> StallContest::time_steps(const Way& way) {
  std::vector<double> ends{seconds_on(Clock::wall)};
  for (std::size_t step = 0; step < case_.steps; ++step) {
    if (way.budget > 0 && !is_moving()) begin_move(way);
    forward();
    ends.push_back(seconds_on(Clock::wall));
  }
  return seconds_between(ends);
}

/// Of all ranks; each sends as much as every other.
void StallContest::note_bytes(Way& way, const MigrationReport& before) {
  const MigrationReport& now = layer_.migration();
  const std::size_t bytes = now.switched_bytes - before.switched_bytes;
  way.moves += now.switched_moves - before.switched_moves;
  way.bytes += bytes;
  if (bytes == 0) return;
  const double own_mebibytes =
      static_cast<double>(bytes) / 0x1p20 / static_cast<double>(communicator_->size());
  const std::array<double, 1> mine{(now.seconds - before.seconds) / own_mebibytes};
  way.mebibyte_s.push_back(most_of_ranks(*communicator_, mine).front());
}

/// Returns the p90, once all that moved has arrived.
double StallContest::run_steps(Way& way) {
  const MigrationReport before = layer_.migration();
  const std::uint64_t started = engine_.num_started();
  communicator_->barrier();
  const std::vector<double> mine = time_steps(way);
  way.seconds += sum(mine);
  const Spread steps = spread_of(most_of_ranks(*communicator_, mine));
  way.progress_seconds += layer_.migration().seconds - before.seconds;
  end_move();
  require_same(batch_.y, expected_);
  note_bytes(way, before);
  way.num_steps += engine_.num_started() - started;
  way.medians.push_back(steps.median);
  way.p90s.push_back(steps.p90);
  return steps.p90;
}

void StallContest::run() {
  std::vector<Contestant> contestants;
  for (Way& way : ways_) contestants.push_back({way.name, [this, &way] { return run_steps(way); }});
  alternate(contestants, {.least_rounds = case_.pairs, .most_rounds = case_.pairs, .seconds = 0});
  for (Way& way : ways_) {
    for (auto* values : {&way.p90s, &way.medians, &way.mebibyte_s})
      if (!values->empty()) values->erase(values->begin());  // which is not counted
    const std::array<double, 1> mine{way.progress_seconds / way.seconds};
    way.progress_share = most_of_ranks(*communicator_, mine).front();
  }
}

std::vector<StallContest::Result> StallContest::results() const {
  std::vector<Result> results;
  for (const Way& way : ways_) {
    const double rank_steps = static_cast<double>(way.num_steps * communicator_->size());
    results.push_back({.name = way.name,
                       .budget = way.budget,
                       .median_s = spread_of(way.medians),
                       .p90_s = spread_of(way.p90s),
                       .p90_ratio = spread_of(ratios(way.p90s, ways_[0].p90s)),
                       .median_ratio = spread_of(ratios(way.medians, ways_[0].medians)),
                       .moves = way.moves,
                       .bytes = way.bytes,
                       .bytes_per_step = static_cast<double>(way.bytes) / rank_steps,
                       .progress_share = way.progress_share,
                       .mebibyte_s = way.mebibyte_s.empty() ? Spread{} : spread_of(way.mebibyte_s)});
  }
  return results;
}

}  // namespace moewe::bench
