#include <algorithm>
#include <array>
#include <atomic>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <new>

#include "comm/log.hpp"
#include "runtime/halves.hpp"
#include "runtime/layer_memory.hpp"
#include "tests/support/layer_runs.hpp"
#include "tests/support/random_placement.hpp"
#include "tests/support/routing_cases.hpp"
#include "tests/support/spoilt_chunks.hpp"

namespace moewe {
namespace {

using test::bf16_floats;
using test::expect_shared_error;
using test::make_routing;
using test::on_every_exchange;
using test::on_every_rank;
using test::OwnedRouting;
using test::part_of;
using test::RoutingCase;
using test::Share;
using test::share_of;
using test::StoredRows;

/// With a shared expert, and experts that take several chunks of a few hundred bytes.
RoutingCase some_case(std::size_t experts) {
  RoutingCase c{"random", LayerSpec{{12, 10}, experts, {2, true}}, 41,
                [](std::size_t, std::size_t k, const auto& shuffled) { return shuffled[k]; }};
  c.spec.shared_intermediate = 9;
  return c;
}

/// Of one expert of such a layer in f32.
std::size_t expert_bytes() {
  MatmulCache matmuls;
  return plan_layer(some_case(1).spec, {}, 1, 1, matmuls).weights.by_name().at(expert_weights_name);
}

/// Room for any placement.
LayerOptions with_room(const RoutingCase& c, Dtype dtype) {
  LayerOptions options;
  options.dtype = dtype;
  options.spare_slots = c.spec.num_experts;
  return options;
}

/// With replicas; the same on every rank.
Placement random_placement(std::uint64_t epoch, std::size_t num_experts, std::size_t num_ranks) {
  return test::random_placement(num_experts, num_ranks, epoch, test::Duplicates::none);
}

/// Every rank's experts go to the next rank.
Placement shifted(const Placement& placement) {
  const std::size_t num_ranks = placement.num_ranks();
  std::vector<std::vector<ExpertId>> experts_of_rank(num_ranks);
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    const auto experts = placement.experts_of(rank_at(rank));
    experts_of_rank[(rank + 1) % num_ranks].assign(experts.begin(), experts.end());
  }
  return {placement.epoch() + 1, placement.num_experts(), std::move(experts_of_rank)};
}

bool is_under_way(const MoeLayer& layer) {
  const MigrationState state = layer.migration().state;
  return state == MigrationState::copying || state == MigrationState::ready ||
         state == MigrationState::agreed;
}

/// A layer, a rank's tokens for it, and what a layer that never migrates makes of them.
class Steps {
 public:
  Steps(Engine& engine, const RoutingCase& c, const LayerOptions& options)
      : share_(share_of(c.num_tokens, engine.communicator())),
        routing_(make_routing(c, share_.first, share_.count)),
        rows_(part_of(bf16_floats(c.num_tokens * c.spec.expert.hidden, 5), share_, c.spec.expert.hidden),
              options.dtype),
        y_(share_.count * c.spec.expert.hidden),
        layer_(engine, c.spec, contiguous_placement(c.spec.num_experts, engine.communicator().size()),
               test::GeneratedWeights(c.spec, test::weights_seed), options) {
    LayerOptions plain = options;
    plain.spare_slots = plain.staging_slots = 0;
    MoeLayer layer = test::make_layer(engine, c.spec, plain);
    layer.forward(rows_, routing_, y_);
    expected_ = y_;
  }

  MoeLayer& layer() { return layer_; }

  void run() {
    clear(y_);
    layer_.forward(rows_, routing_, y_);
    EXPECT_EQ(y_, expected_) << "epoch " << layer_.placement().epoch();
  }

  void run_in_halves() {
    clear(y_);
    const Routing routing = routing_;
    forward_in_halves(layer_, rows_, &routing, y_);
    EXPECT_EQ(y_, expected_) << "epoch " << layer_.placement().epoch();
  }

  /// Until no migration is under way.
  void run_to_the_end() {
    constexpr int most_steps = 400;
    for (int step = 0; step < most_steps && is_under_way(layer_); ++step) run();
    EXPECT_FALSE(is_under_way(layer_));
  }

  /// So many steps, of which one is always in flight when the next is started.
  void run_overlapping(int num_steps, const std::function<void()>& before_each) {
    std::array<std::vector<float>, 2> results{y_, y_};
    std::array<LayerStep, 2> steps;
    for (int i = 0; i <= num_steps; ++i) {
      const auto newer = static_cast<std::size_t>(i % 2), older = 1 - newer;
      before_each();
      clear(results[newer]);
      if (i < num_steps) steps[newer] = layer_.start(rows_, routing_, results[newer]);
      if (i == 0) continue;
      layer_.finish(steps[older]);
      EXPECT_EQ(results[older], expected_) << "step " << i;
    }
  }

 private:
  static void clear(std::vector<float>& y) {
    std::fill(y.begin(), y.end(), std::numeric_limits<float>::quiet_NaN());
  }

  Share share_;
  OwnedRouting routing_;
  StoredRows rows_;
  std::vector<float> y_;
  std::vector<float> expected_;
  MoeLayer layer_;
};

void migrate_if_idle(MoeLayer& layer, std::size_t num_ranks, std::size_t bytes_per_step) {
  if (is_under_way(layer)) return;
  layer.migrate(random_placement(layer.placement().epoch() + 1, layer.spec().num_experts, num_ranks),
                {.bytes_per_step = bytes_per_step});
}

TEST(MigrationContract, OutputsHaveTheSameBitsInEveryStepOfEveryMigration) {
  on_every_exchange([&](Engine& engine) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      const RoutingCase c = some_case(7);
      Steps steps(engine, c, with_room(c, dtype));
      for (int step = 0; step < 100; ++step) {
        migrate_if_idle(steps.layer(), engine.communicator().size(), step < 30 ? 500 : 100'000);
        steps.run();
      }
      EXPECT_GE(steps.layer().migration().num_switched, 4U);
      EXPECT_EQ(steps.layer().migration().num_cancelled, 0U);
      EXPECT_EQ(steps.layer().placement().epoch(), steps.layer().migration().num_switched);
    }
  });
}

TEST(MigrationContract, StepsInFlightKeepTheWeightsOfTheirEpoch) {
  on_every_exchange([&](Engine& engine) {
    const RoutingCase c = some_case(7);
    Steps steps(engine, c, with_room(c, Dtype::f32));
    const auto migrate = [&] { migrate_if_idle(steps.layer(), engine.communicator().size(), 100'000); };
    steps.run_overlapping(40, migrate);
    EXPECT_GE(steps.layer().migration().num_switched, 2U);
    for (int step = 0; step < 20; ++step) {
      migrate();
      steps.run_in_halves();
    }
    EXPECT_GE(steps.layer().migration().num_switched, 3U);
    EXPECT_EQ(steps.layer().migration().num_cancelled, 0U);
  });
}

/// With as many slots as experts and one more each, so that every slot is needed again and again.
TEST(MigrationContract, OneStagingSlotIsEnoughWhereOneExpertArrives) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    EngineOptions audited;
    audited.verify = VerifyLevel::audit;
    Engine engine(communicator, backend, audited);
    const RoutingCase c = some_case(communicator.size());
    LayerOptions options;
    options.staging_slots = 1;
    if (c.spec.num_experts < 2) return;
    Steps steps(engine, c, options);
    const auto migrate = [&] {
      if (!is_under_way(steps.layer())) steps.layer().migrate(shifted(steps.layer().placement()), {});
    };
    steps.run_overlapping(40, migrate);
    EXPECT_GE(steps.layer().migration().num_switched, 4U);
    EXPECT_EQ(steps.layer().migration().num_cancelled, 0U);
  });
}

TEST(MigrationContract, WhatTravelsIsWhatMoves) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    Engine engine(communicator, backend, {});
    const RoutingCase c = some_case(11);
    Steps steps(engine, c, with_room(c, Dtype::f32));
    MoeLayer& layer = steps.layer();
    std::size_t all_bytes = 0, all_moves = 0;
    for (int time = 0; time < 3; ++time) {
      const Placement next = random_placement(layer.placement().epoch() + 1, 11, communicator.size());
      const MigrationPlan plan = plan_migration(layer.placement(), next, communicator.topology());
      layer.migrate(next, {.bytes_per_step = 700});
      for (std::size_t sent = 0; is_under_way(layer); sent = layer.migration().sent_bytes) {
        steps.run();
        EXPECT_LE(layer.migration().sent_bytes, sent + 700);
      }
      const MigrationReport& report = layer.migration();
      EXPECT_EQ(report.state, MigrationState::switched);
      EXPECT_EQ(report.num_moves, plan.moves.size());
      EXPECT_EQ(report.num_bytes, plan.moves.size() * expert_bytes());
      EXPECT_EQ(report.received_bytes, plan.num_received_by(communicator.rank()) * expert_bytes());
      std::array<std::int64_t, 2> sums{static_cast<std::int64_t>(report.sent_bytes),
                                       static_cast<std::int64_t>(report.received_bytes)};
      communicator.all_reduce({.sums = sums, .minima = {}, .maxima = {}});
      EXPECT_EQ(static_cast<std::size_t>(sums[0]), report.num_bytes);
      EXPECT_EQ(static_cast<std::size_t>(sums[1]), report.num_bytes);
      all_moves += report.num_moves;
      all_bytes += report.num_bytes;
      EXPECT_EQ(report.switched_moves, all_moves);
      EXPECT_EQ(report.switched_bytes, all_bytes);
    }
    EXPECT_TRUE(communicator.size() == 1 || all_moves > 0);
  });
}

std::size_t counted(const Engine& engine, std::string_view name) {
  const auto found = engine.memory().by_name().find(name);
  return found == engine.memory().by_name().end() ? 0 : found->second.peak_bytes;
}

TEST(MigrationContract, TakesTheMemoryThatIsPlannedAndNoneWithoutRoom) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    const RoutingCase c = some_case(7);
    LayerOptions options = with_room(c, Dtype::bf16);
    options.spare_slots = 2;
    options.staging_slots = 6;
    for (const bool has_room : {true, false}) {
      if (!has_room) options.spare_slots = options.staging_slots = 0;
      Engine engine(communicator, backend, {});
      const Placement first = contiguous_placement(7, communicator.size());
      const std::size_t num_slots = first.experts_of(communicator.rank()).size();
      const LayerMemory plan = plan_layer(c.spec, options, num_slots, 1, engine.matmuls());
      MoeLayer layer(engine, c.spec, first, test::GeneratedWeights(c.spec, test::weights_seed), options);
      const auto weights = plan.weights.by_name();
      const auto shared = plan.shared.by_name();
      const auto check = [&] {
        const auto expected = weights.find(expert_weights_name);
        EXPECT_EQ(counted(engine, expert_weights_name), expected == weights.end() ? 0 : expected->second);
        const auto chunks = shared.find(std::string(ChunkCarrier::meter_name));
        EXPECT_EQ(chunks != shared.end(), has_room);
        EXPECT_EQ(counted(engine, ChunkCarrier::meter_name), has_room ? chunks->second : 0);
      };
      check();
      if (!has_room) continue;
      layer.migrate(shifted(first), {});
      std::vector<float> y;
      while (is_under_way(layer)) layer.forward(StoredRows({}, Dtype::bf16), y);
      check();
    }
  });
}

/// The first experts of ranks 0 and 1 change places.
Placement with_swap(const Placement& placement) {
  std::vector<std::vector<ExpertId>> experts_of_rank;
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) {
    const auto experts = placement.experts_of(rank_at(rank));
    experts_of_rank.emplace_back(experts.begin(), experts.end());
  }
  std::swap(experts_of_rank[0][0], experts_of_rank[1][0]);
  return {placement.epoch() + 1, placement.num_experts(), std::move(experts_of_rank)};
}

TEST(MigrationContract, WhatCannotBeIsRefusedOnAllRanksAndTheNextOneWorks) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    const std::size_t num_ranks = communicator.size();
    if (num_ranks < 2) return;
    Engine engine(communicator, backend, {});
    const RoutingCase c = some_case(3 * num_ranks);
    LayerOptions options;
    options.spare_slots = 1;
    Steps steps(engine, c, options);
    MoeLayer& layer = steps.layer();
    const Placement now = layer.placement(), next = with_swap(now);
    const auto refused = [&](const std::string& part, const Placement& wrong, const MigrationOptions& how) {
      expect_shared_error(ErrorKind::invalid_input, part, [&] { layer.migrate(wrong, how); });
      steps.run();
      EXPECT_EQ(layer.migration().state, MigrationState::idle);
    };
    std::vector<std::vector<ExpertId>> crowded(num_ranks);
    for (std::size_t e = 0; e < 3 * num_ranks; ++e)
      crowded[e < 5 ? 0 : num_ranks - 1].push_back(expert_at(e));
    refused("cannot follow", now, {});
    refused("the layer of", contiguous_placement(3 * num_ranks + 1, num_ranks), {});
    refused("cannot hold 5 experts", Placement(1, 3 * num_ranks, crowded), {});
    refused("3 experts cannot come to rank 0 at a time", shifted(now), {});
    refused("at least a byte", next, {.bytes_per_step = 0});
    refused("a step of patience", next, {.patience_steps = 0});
    layer.migrate(next);
    expect_shared_error(ErrorKind::invalid_input, "migrating already", [&] { layer.migrate(next); });
    steps.run_to_the_end();
    EXPECT_EQ(layer.placement().digest(), next.digest());
  });
}

TEST(MigrationContract, APlanThatDiffersOnOneRankIsSaidOnAllAndTheNextOneWorks) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    if (communicator.size() < 2) return;
    Engine engine(communicator, backend, {});
    const RoutingCase c = some_case(2 * communicator.size());
    Steps steps(engine, c, with_room(c, Dtype::f32));
    MoeLayer& layer = steps.layer();
    const Placement next = shifted(layer.placement());
    const bool differs = communicator.rank() == Rank{1};
    expect_shared_error(ErrorKind::disagreement, "placement",
                        [&] { layer.migrate(differs ? with_swap(layer.placement()) : next); });
    expect_shared_error(ErrorKind::disagreement, "bytes per step",
                        [&] { layer.migrate(next, {.bytes_per_step = differs ? 7U : 8U}); });
    steps.run();
    EXPECT_EQ(layer.placement().epoch(), 0U);
    layer.migrate(next);
    steps.run_to_the_end();
    EXPECT_EQ(layer.placement().digest(), next.digest());
  });
}

TEST(MigrationContract, LayersWithoutRoomRefuseToMigrate) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    Engine engine(communicator, backend, {});
    const RoutingCase c = some_case(5);
    MoeLayer layer = test::make_layer(engine, c.spec);
    expect_shared_error(ErrorKind::invalid_input, "without spare or staging slots",
                        [&] { layer.migrate(shifted(layer.placement())); });
    EXPECT_EQ(layer.migration().state, MigrationState::idle);
    expect_shared_error(ErrorKind::invalid_input, "a caller's function", [&] {
      MoeLayer(
          engine, c.spec, layer.placement(), [](ExpertId, std::span<const Row>, Stores) {},
          with_room(c, Dtype::f32));
    });
  });
}

TEST(MigrationContract, LayersOfAnEngineTakeTurnsAndMoveOnInOneAnothersSteps) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    Engine engine(communicator, backend, {});
    const RoutingCase c = some_case(2 * communicator.size());
    Steps one(engine, c, with_room(c, Dtype::f32)), other(engine, c, with_room(c, Dtype::f32));
    one.layer().migrate(shifted(one.layer().placement()), {.bytes_per_step = 100});
    expect_shared_error(ErrorKind::invalid_input, "migrating already",
                        [&] { other.layer().migrate(shifted(other.layer().placement())); });
    for (int step = 0; step < 5; ++step) other.run();
    EXPECT_TRUE(communicator.size() == 1 || one.layer().migration().sent_bytes > 100);
    one.run_to_the_end();
    other.layer().migrate(shifted(other.layer().placement()));
    other.run_to_the_end();
    EXPECT_EQ(one.layer().placement().digest(), other.layer().placement().digest());
  });
}

/// Of a migration that fails somehow, and of the one after it.
class Failing {
 public:
  Failing(Communicator& communicator, const Backend& backend, const test::ChunkSpoiler& spoiler)
      : spoiler_(spoiler),
        engine_(communicator, with_spoilt_chunks(backend, spoiler_), {}),
        case_(some_case(2 * communicator.size())),
        steps_(engine_, case_, with_room(case_, Dtype::f32)) {}

  static constexpr std::size_t chunk_bytes = 400;

  MigrationReport migrate(std::size_t patience, const std::function<void(ExpertId)>& before_arrival = {}) {
    MoeLayer& layer = steps_.layer();
    layer.migrate(
        shifted(layer.placement()),
        {.bytes_per_step = chunk_bytes, .patience_steps = patience, .before_arrival = before_arrival});
    steps_.run_to_the_end();
    return layer.migration();
  }

  /// Expects the reason to name these, on all ranks alike.
  void expect_cancelled(const MigrationReport& report, const std::vector<std::string>& parts) {
    EXPECT_EQ(report.state, MigrationState::cancelled);
    EXPECT_EQ(report.num_cancelled, 1U);
    EXPECT_EQ(steps_.layer().placement().epoch(), 0U);
    for (const std::string& part : parts)
      EXPECT_NE(report.reason.find(part), std::string::npos) << part << " in: " << report.reason;
    steps_.run();
    const MigrationReport next = migrate(200);
    EXPECT_EQ(next.state, MigrationState::switched) << next.reason;
    EXPECT_EQ(next.num_switched, 1U);
    EXPECT_EQ(next.reason, "");
    steps_.run();
  }

  Steps& steps() { return steps_; }

 private:
  test::ChunkSpoiler spoiler_;
  Engine engine_;
  RoutingCase case_;
  Steps steps_;
};

/// Where there are several. Expects each cancellation to be logged once, by rank 0, and nothing else.
void on_logging_ranks(const std::function<void(Communicator&, const Backend&)>& work) {
  std::atomic<std::size_t> num_logged{0}, num_expected{0};
  set_log_sink([&](LogLevel level, std::string_view message) {
    EXPECT_EQ(level, LogLevel::warning);
    EXPECT_EQ(message.find("layer 0: the migration from epoch 0 to 1 is cancelled: "), 0U) << message;
    ++num_logged;
  });
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    if (communicator.size() < 2) return;
    work(communicator, backend);
    if (communicator.rank() == Rank{0}) ++num_expected;
  });
  EXPECT_EQ(num_logged, num_expected);
  set_log_sink([](LogLevel, std::string_view message) { fmt::print(stderr, "{}\n", message); });
}

using test::ChunkFault;

std::size_t num_chunks_of_an_expert() {
  return (expert_bytes() + Failing::chunk_bytes - 1) / Failing::chunk_bytes;
}

void expect_cancelled(ChunkFault fault, std::size_t number, const std::vector<std::string>& parts) {
  on_logging_ranks([&](Communicator& communicator, const Backend& backend) {
    Failing failing(communicator, backend, {.fault = fault, .sender = Rank{0}, .number = number});
    failing.expect_cancelled(failing.migrate(100), parts);
  });
}

TEST(MigrationContract, WeightsThatChangedOnTheWayCancelItOnAllRanks) {
  const std::vector<std::string> parts{
      "rank 1: the weights of expert 0 of layer 0 for epoch 1 from rank 0 to rank 1", "not what they were"};
  for (const std::size_t number : {std::size_t{0}, std::size_t{1}, num_chunks_of_an_expert() - 1})
    expect_cancelled(ChunkFault::flip_weights, number, parts);
}

TEST(MigrationContract, AHeaderThatChangedOnTheWayCancelsItOnAllRanks) {
  expect_cancelled(ChunkFault::flip_header, 1, {"of expert 1 of layer 0 for epoch 1", "was to come"});
}

TEST(MigrationContract, AChunkThatIsLostCancelsItOnAllRanks) {
  expect_cancelled(ChunkFault::drop, 1, {"from byte 800", "byte 400 of the weights of expert 0"});
  expect_cancelled(ChunkFault::twice, 1, {"from byte 400", "byte 800 of the weights of expert 0"});
}

TEST(MigrationContract, AMigrationThatComesToAHaltIsCancelledOnAllRanks) {
  on_logging_ranks([&](Communicator& communicator, const Backend& backend) {
    const std::size_t last = num_chunks_of_an_expert() - 1;
    Failing failing(communicator, backend, {.fault = ChunkFault::drop, .sender = Rank{0}, .number = last});
    failing.expect_cancelled(failing.migrate(40),
                             {"no progress in 40 steps", "expert 0", "from rank 0 to rank 1"});
  });
}

TEST(MigrationContract, AChunkThatIsLateDelaysItAndNoStep) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    if (communicator.size() < 2) return;
    Failing failing(communicator, backend, {.fault = ChunkFault::delay, .sender = Rank{0}, .number = 2});
    const MigrationReport report = failing.migrate(200);
    EXPECT_EQ(report.state, MigrationState::switched) << report.reason;
    EXPECT_EQ(failing.steps().layer().placement().epoch(), 1U);
    failing.steps().run();
  });
}

TEST(MigrationContract, OneThatIsGivenUpBeforeALateChunkComesIsNotTakenForTheNext) {
  on_logging_ranks([&](Communicator& communicator, const Backend& backend) {
    Failing failing(communicator, backend, {.fault = ChunkFault::delay, .sender = Rank{0}, .number = 2});
    failing.expect_cancelled(failing.migrate(2), {"no progress in 2 steps"});
  });
}

TEST(MigrationContract, ARankWithoutMemoryCancelsItOnAllRanks) {
  on_logging_ranks([&](Communicator& communicator, const Backend& backend) {
    Failing failing(communicator, backend, {});
    int arrivals = 0;
    const auto fail = [&](ExpertId) {
      if (communicator.rank() == Rank{1} && ++arrivals == 2) throw std::bad_alloc();
    };
    failing.expect_cancelled(failing.migrate(200, fail), {"rank 1: "});
  });
}

}  // namespace
}  // namespace moewe
