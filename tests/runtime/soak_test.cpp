#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <malloc.h>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <vector>
#include <xxhash.h>

#include "comm/loopback/run_ranks.hpp"
#include "tests/support/layer_runs.hpp"
#include "tests/support/random_placement.hpp"

// Worlds of random ranks, sizes, paths and options, one after the other, with an audit of all that travels:
// nothing is lost, every output is that of one rank, and no memory is kept.

namespace moewe {
namespace {

using Random = std::mt19937_64;

constexpr std::size_t most_tokens = 300;  // of all ranks in a step
constexpr std::size_t most_steps = 40;    // of a world

/// From `least` to `most`.
std::size_t draw(Random& random, std::size_t least, std::size_t most) {
  return least + random() % (most - least + 1);
}

template <typename T, std::size_t n>
T draw_one(Random& random, const std::array<T, n>& values) {
  return values[draw(random, 0, n - 1)];
}

struct World {
  std::uint64_t seed;
  Topology topology;
  EngineOptions engine;
  LayerSpec spec;
  LayerOptions layer;
  bool is_halved;                                ///< two halves of the tokens are in flight at the same time
  std::vector<std::vector<std::size_t>> tokens;  ///< [step][rank]
  std::size_t migrated_bytes = 0;                ///< per step, all the time; 0 where experts stay
};

Topology draw_topology(Random& random) {
  const std::size_t num_ranks = draw(random, 1, 8);
  if (draw(random, 0, 2) != 0) return Topology::one_node(num_ranks);
  std::vector<std::uint64_t> nodes(num_ranks);
  for (std::uint64_t& node : nodes) node = draw(random, 0, 2);
  return Topology(nodes);
}

EngineOptions draw_engine(Random& random, const Topology& topology) {
  EngineOptions options;
  options.verify = VerifyLevel::audit;
  options.threads = 1;
  constexpr std::array one_node{PathRequest::automatic, PathRequest::direct, PathRequest::message};
  constexpr std::array several{PathRequest::automatic, PathRequest::message, PathRequest::two_level};
  options.exchange.path = draw_one(random, topology.num_nodes() == 1 ? one_node : several);
  options.exchange.message_chunk_bytes = draw_one(random, std::array<std::size_t, 3>{0, 300, 5000});
  if (draw(random, 0, 1) == 0)
    options.exchange.flow = Flow{
        .chunk_tokens = draw(random, 1, 20), .ring_chunks = draw(random, 0, 3), .row_stores = Stores::cached};
  return options;
}

LayerSpec draw_spec(Random& random) {
  const std::size_t num_experts = draw(random, 1, 24);
  LayerSpec spec{{draw(random, 1, 40), draw(random, 1, 20)},
                 num_experts,
                 {draw(random, 1, std::min<std::size_t>(num_experts, 6)), true}};
  if (draw(random, 0, 3) == 0) spec.shared_intermediate = draw(random, 1, 16);
  return spec;
}

LayerOptions draw_layer(Random& random) {
  LayerOptions options;
  options.dtype = draw_one(random, std::array{Dtype::f32, Dtype::bf16});
  options.combine = draw(random, 0, 3) == 0 ? Combine::fast : Combine::reproducible;
  options.overlap = draw(random, 0, 1) == 0;
  options.chunk_bytes = draw_one(random, std::array<std::size_t, 3>{0, 200, 4000});
  constexpr std::array policies{OverflowPolicy::drop_last, OverflowPolicy::drop_lowest_weight,
                                OverflowPolicy::next_choice};
  if (draw(random, 0, 2) == 0) {
    options.capacity.emplace();
    options.capacity->policy = draw_one(random, policies);
    options.capacity->factor = draw_one(random, std::array{0.5, 1.0, 1.5});
    options.capacity->renormalise = draw(random, 0, 1) == 0;
  }
  return options;
}

/// Of a step's tokens, cut anywhere, so that some ranks have none.
std::vector<std::size_t> draw_shares(Random& random, std::size_t num_ranks) {
  const std::size_t num_tokens = draw(random, 0, draw(random, 0, 3) == 0 ? 4 : most_tokens);
  std::vector<std::size_t> cuts{num_tokens};
  for (std::size_t rank = 1; rank < num_ranks; ++rank) cuts.push_back(draw(random, 0, num_tokens));
  std::sort(cuts.begin(), cuts.end());
  std::adjacent_difference(cuts.begin(), cuts.end(), cuts.begin());
  return cuts;
}

World draw_world(std::uint64_t seed) {
  Random random(seed);
  const Topology topology = draw_topology(random);
  World world{seed,  topology, draw_engine(random, topology), draw_spec(random), draw_layer(random),
              false, {}};
  world.is_halved = !world.layer.capacity && draw(random, 0, 2) == 0;
  if (!world.is_halved && draw(random, 0, 3) == 0)
    world.engine.memory_limit = draw(random, 1500, 4000) << 10U;
  world.tokens.resize(draw(random, 1, most_steps));
  for (std::vector<std::size_t>& of_rank : world.tokens) {
    of_rank = draw_shares(random, topology.num_ranks());
  }
  if (world.engine.memory_limit == 0 && draw(random, 0, 1) == 0) {
    world.migrated_bytes = draw(random, 100, 20'000);
    world.layer.spare_slots = world.spec.num_experts;
  }
  return world;
}

std::string describe(const World& world) {
  const Flow flow = world.engine.exchange.flow.value_or(Flow{});
  return fmt::format(
      "world {}: {} ranks on {} nodes, path {}, ring of {} chunks of {} tokens, {} experts, top-{}, hidden "
      "{}, "
      "{}, combine {}, overlap {}, halves {}, memory limit {}, {} bytes migrate per step",
      world.seed, world.topology.num_ranks(), world.topology.num_nodes(),
      static_cast<int>(world.engine.exchange.path), flow.ring_chunks, flow.chunk_tokens,
      world.spec.num_experts, world.spec.router.top_k, world.spec.expert.hidden, name_of(world.layer.dtype),
      static_cast<int>(world.layer.combine), world.layer.overlap, world.is_halved, world.engine.memory_limit,
      world.migrated_bytes);
}

std::vector<float> input_of(const World& world, std::size_t step, std::size_t rank) {
  return test::bf16_floats(world.tokens[step][rank] * world.spec.expert.hidden,
                           world.seed * 1000003 + step * 8 + rank);
}

/// A rank's outputs of one step.
struct Outcome {
  std::uint64_t digest;
  double square;
  double largest = 0;

  explicit Outcome(std::span<const float> y)
      : digest(XXH3_64bits(y.data(), y.size_bytes())),
        square(std::inner_product(y.begin(), y.end(), y.begin(), 0.0)) {
    for (const float value : y) largest = std::max(largest, std::abs(static_cast<double>(value)));
  }
};

/// [step][rank]
using Outcomes = std::vector<std::vector<Outcome>>;

/// What one rank makes of the tokens of all.
Outcomes run_alone(const World& world) {
  Outcomes outcomes(world.tokens.size());
  test::with_engine_of_one_rank([&](Engine& engine) {
    LayerOptions options = world.layer;
    options.combine = Combine::reproducible;
    options.spare_slots = 0;
    MoeLayer layer = test::make_layer(engine, world.spec, options);
    for (std::size_t step = 0; step < world.tokens.size(); ++step) {
      std::vector<float> x;
      for (std::size_t rank = 0; rank < world.topology.num_ranks(); ++rank) {
        const std::vector<float> of_rank = input_of(world, step, rank);
        x.insert(x.end(), of_rank.begin(), of_rank.end());
      }
      std::vector<float> y(x.size());
      layer.forward(test::StoredRows(x, options.dtype), y);
      std::span<const float> rest(y);
      for (const std::size_t tokens : world.tokens[step]) {
        outcomes[step].emplace_back(rest.first(tokens * world.spec.expert.hidden));
        rest = rest.subspan(tokens * world.spec.expert.hidden);
      }
    }
  });
  return outcomes;
}

/// One step on one rank.
std::vector<float> run_step(const World& world, MoeLayer& layer, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  const Dtype dtype = world.layer.dtype;
  if (!world.is_halved) {
    layer.forward(test::StoredRows(x, dtype), y);
    return y;
  }
  const std::size_t half = x.size() / world.spec.expert.hidden / 2 * world.spec.expert.hidden;
  const auto middle = x.begin() + static_cast<std::ptrdiff_t>(half);
  const test::StoredRows first({x.begin(), middle}, dtype), second({middle, x.end()}, dtype);
  LayerStep one = layer.start(first, std::span(y).first(half));
  LayerStep other = layer.start(second, std::span(y).subspan(half));
  layer.finish(one);
  layer.finish(other);
  return y;
}

double largest_of(const Outcomes& outcomes) {
  double largest = 0;
  for (const auto& step : outcomes) {
    for (const Outcome& outcome : step) largest = std::max(largest, outcome.largest);
  }
  return largest;
}

/// How far a sum of squares may be off where sums over ranks are rounded on their way. Sums are about as
/// large as outputs can be, even where they cancel one another out: so it is eight times what independent
/// roundings of the `largest` would make of it, and for many values a share of it.
double tolerance_of(Dtype dtype, double square, double largest) {
  const bool is_f32 = dtype == Dtype::f32;
  const double rounding = std::ldexp(1.0, is_f32 ? -24 : -9);
  return (is_f32 ? 1e-5 : 1e-2) * square + 8 * rounding * 2 * largest * std::sqrt(square);
}

/// `largest` of all outputs.
void expect_alike(const World& world, const Outcome& outcome, const Outcome& alone, double largest) {
  if (world.layer.combine == Combine::reproducible) {
    EXPECT_EQ(outcome.digest, alone.digest);
  } else {
    EXPECT_NEAR(outcome.square, alone.square, tolerance_of(world.layer.dtype, alone.square, largest));
  }
}

/// Assignments that were promised and computed, and epochs that began while steps went on, over all worlds.
struct Account {
  std::atomic<std::int64_t> promised{0};
  std::atomic<std::int64_t> computed{0};
  std::atomic<std::size_t> switched{0};
};

/// The next of one random placement after the other, as soon as the one before it is in use.
void migrate(const World& world, MoeLayer& layer) {
  const MigrationState state = layer.migration().state;
  EXPECT_NE(state, MigrationState::cancelled) << layer.migration().reason;
  if (state != MigrationState::idle && state != MigrationState::switched) return;
  const std::uint64_t epoch = layer.placement().epoch() + 1;
  const std::size_t num_ranks = world.topology.num_ranks();
  std::vector<Millionths> slowness;
  if (epoch % 2 == 0)
    slowness.assign(num_ranks, 1'000'000 + static_cast<Millionths>(world.seed % 3) * 400'000);
  if (epoch % 2 == 0) slowness[epoch % num_ranks] = 700'000;
  layer.migrate(test::random_placement(world.spec.num_experts, num_ranks, world.seed * 1000 + epoch,
                                       test::Duplicates::none, epoch)
                    .with_slowness(std::move(slowness)),
                {.bytes_per_step = world.migrated_bytes});
}

void run_together(const World& world, const Outcomes& alone, Account& account) {
  const double largest = largest_of(alone);
  run_ranks(world.topology, test::patience, [&](Communicator& communicator) {
    Engine engine(communicator, loopback_backend(), world.engine);
    MoeLayer layer = test::make_layer(engine, world.spec, world.layer);
    const std::size_t rank = index(communicator.rank());
    for (std::size_t step = 0; step < world.tokens.size(); ++step) {
      if (world.migrated_bytes > 0) migrate(world, layer);
      expect_alike(world, Outcome(run_step(world, layer, input_of(world, step, rank))), alone[step][rank],
                   largest);
      const StepReport& report = layer.report();
      const auto sum = [](const auto& of) { return std::accumulate(of.begin(), of.end(), std::int64_t{0}); };
      if (rank == 0) account.promised += sum(report.kept_per_expert());
      account.computed += sum(report.computed_per_slot);
    }
    if (rank == 0) account.switched += layer.migration().num_switched;
  });
}

std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t pages = 0;
  file >> pages >> pages;
  return pages * 4096;
}

std::size_t count_open_files() {
  const std::filesystem::directory_iterator files("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(files), end(files)));
}

/// Mappings of memory that ranks share.
std::size_t count_segments() {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    const bool is_shared =
        line.find("memfd:") != std::string::npos || line.find("/dev/shm") != std::string::npos;
    count += is_shared ? 1U : 0U;
  }
  return count;
}

struct Sample {
  double step;
  double bytes;
};

/// Least squares: bytes per step.
double slope_of(std::span<const Sample> samples) {
  double step = 0, bytes = 0, product = 0, square = 0;
  for (const Sample& sample : samples) {
    step += sample.step / static_cast<double>(samples.size());
    bytes += sample.bytes / static_cast<double>(samples.size());
  }
  for (const Sample& sample : samples) {
    product += (sample.step - step) * (sample.bytes - bytes);
    square += (sample.step - step) * (sample.step - step);
  }
  return product / square;
}

#ifdef MOEWE_SANITIZED  // which is slow
constexpr std::size_t few_steps = 60;
#else
constexpr std::size_t few_steps = 1000;
#endif

/// Of $MOEWE_SOAK_STEPS steps.
TEST(Soak, LosesNothingAndKeepsNoMemory) {
  const char* const asked = std::getenv("MOEWE_SOAK_STEPS");
  const std::size_t num_steps = asked == nullptr ? few_steps : std::stoul(asked);
  const char* const first = std::getenv("MOEWE_SOAK_FIRST");
  std::vector<Sample> samples;
  Account account;
  std::size_t step = 0, open_files = 0, segments = 0, num_worlds = 0;
  for (std::uint64_t seed = first == nullptr ? 1 : std::stoul(first); step < num_steps && !HasFailure();
       ++seed, ++num_worlds) {
    const World world = draw_world(seed);
    SCOPED_TRACE(describe(world));
    EXPECT_NO_THROW(run_together(world, run_alone(world), account));
    if (num_worlds == 0) {
      open_files = count_open_files();
      segments = count_segments();
    }
    step += world.tokens.size();
    ::malloc_trim(0);
    samples.push_back({static_cast<double>(step), static_cast<double>(resident_bytes())});
  }
  EXPECT_EQ(account.promised, account.computed);
  EXPECT_GT(account.switched, 0U);
  EXPECT_EQ(count_open_files(), open_files);
  EXPECT_EQ(count_segments(), segments);
  const std::size_t begin = samples.size() / 4;  // what is made once has been made by then
  const double grown = slope_of(std::span(samples).subspan(begin)) * static_cast<double>(step);
  fmt::print(
      "{} steps in {} worlds, {} epochs, {} assignments promised, {} computed; resident {:.1f} MB at first "
      "and {:.1f} "
      "at last, fitted growth over all steps {:.2f} MB\n",
      step, num_worlds, account.switched.load(), account.promised.load(), account.computed.load(),
      samples[begin].bytes / 1e6, samples.back().bytes / 1e6, grown / 1e6);
  constexpr std::size_t enough_steps = 20000;
  constexpr double most_growth = 4e6;
  if (step >= enough_steps) {
    EXPECT_LT(grown, most_growth);
  }
}

}  // namespace
}  // namespace moewe
