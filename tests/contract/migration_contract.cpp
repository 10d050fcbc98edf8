#include <array>
#include <gtest/gtest.h>

#include "tests/support/migration_runs.hpp"
#include "tests/support/observed_transport.hpp"
#include "tests/support/random_placement.hpp"

namespace moewe {
namespace {

using test::expect_shared_error;
using test::expert_bytes;
using test::is_migrating;
using test::on_every_exchange;
using test::on_every_rank;
using test::RoutingCase;
using test::shifted;
using test::some_case;
using test::Steps;
using test::StoredRows;
using test::with_room;

/// With replicas; the same on every rank.
Placement random_placement(std::uint64_t epoch, std::size_t num_experts, std::size_t num_ranks) {
  return test::random_placement(num_experts, num_ranks, epoch, test::Duplicates::none);
}

void migrate_if_idle(MoeLayer& layer, std::size_t num_ranks, std::size_t bytes_per_step) {
  if (is_migrating(layer)) return;
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
      if (!is_migrating(steps.layer())) steps.layer().migrate(shifted(steps.layer().placement()), {});
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
      for (std::size_t sent = 0; is_migrating(layer); sent = layer.migration().sent_bytes) {
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

/// Chunks of weights that this rank sends as messages while every rank's experts go to the next.
std::size_t chunks_sent(Communicator& communicator, const Backend& backend, PathRequest path) {
  std::size_t num_sent = 0;
  const Backend watched = test::observed(backend, [&](const test::ObservedMessage& message) {
    if (message.tag == ChunkCarrier::tag) ++num_sent;
  });
  Engine engine(communicator, watched, {});
  const RoutingCase c = some_case(2 * communicator.size());
  Steps steps(engine, c, with_room(c, Dtype::f32));
  steps.layer().migrate(shifted(steps.layer().placement()), {.bytes_per_step = expert_bytes(), .path = path});
  steps.run_to_the_end();
  EXPECT_EQ(steps.layer().migration().state, MigrationState::switched);
  return num_sent;
}

TEST(MigrationContract, WeightsGoAsMessagesOnlyWherePeersAreNotReachedOrWhereAskedTo) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    if (communicator.size() < 2) return;
    const Rank self = communicator.rank(), next = rank_at((index(self) + 1) % communicator.size());
    const std::size_t of_two_experts = 2;
    EXPECT_EQ(chunks_sent(communicator, backend, PathRequest::message), of_two_experts);
    const bool is_near = communicator.topology().share_node(self, next);
    EXPECT_EQ(chunks_sent(communicator, backend, PathRequest::automatic), is_near ? 0 : of_two_experts);
    Backend without = backend;
    without.make_peer_memory = [](Communicator&, MemoryMeter&, std::size_t) {
      return PeerMemoryOffer{nullptr, "there is none"};
    };
    EXPECT_EQ(chunks_sent(communicator, without, PathRequest::automatic), of_two_experts);
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
      const LayerMemory plan =
          plan_layer(c.spec, options, {num_slots, 1, communicator.size()}, engine.matmuls());
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
      while (is_migrating(layer)) layer.forward(StoredRows({}, Dtype::bf16), y);
      check();
    }
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

}  // namespace
}  // namespace moewe
