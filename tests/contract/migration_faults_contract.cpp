#include <array>
#include <atomic>
#include <fmt/format.h>
#include <functional>
#include <gtest/gtest.h>
#include <new>

#include "comm/log.hpp"
#include "tests/support/migration_runs.hpp"
#include "tests/support/spoilt_chunks.hpp"

namespace moewe {
namespace {

using test::ChunkFault;
using test::expect_shared_error;
using test::expert_bytes;
using test::on_every_rank;
using test::RoutingCase;
using test::shifted;
using test::some_case;
using test::Steps;
using test::with_room;

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

TEST(MigrationFaultsContract, WhatCannotBeIsRefusedOnAllRanksAndTheNextOneWorks) {
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

TEST(MigrationFaultsContract, APlanThatDiffersOnOneRankIsSaidOnAllAndTheNextOneWorks) {
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

TEST(MigrationFaultsContract, LayersWithoutRoomRefuseToMigrate) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    Engine engine(communicator, backend, {});
    const RoutingCase c = some_case(5);
    MoeLayer layer = test::make_layer(engine, c.spec);
    expect_shared_error(ErrorKind::invalid_input, "without spare or staging slots",
                        [&] { layer.migrate(shifted(layer.placement())); });
    EXPECT_EQ(layer.migration().state, MigrationState::idle);
    expect_shared_error(ErrorKind::invalid_input, "a caller's function", [&] {
      MoeLayer(
          engine, c.spec, layer.placement(), [](ExpertId, std::span<const Row>) {},
          with_room(c, Dtype::f32));
    });
  });
}

/// Of a migration that fails somehow, and of the one after it.
class Failing {
 public:
  Failing(Communicator& communicator, const Backend& backend, const test::ChunkSpoiler& spoiler,
          PathRequest path)
      : spoiler_(spoiler),
        path_(path),
        engine_(communicator, with_spoilt_chunks(backend, spoiler_), {}),
        case_(some_case(2 * communicator.size())),
        steps_(engine_, case_, with_room(case_, Dtype::f32)) {}

  static constexpr std::size_t chunk_bytes = 400;

  MigrationReport migrate(std::size_t patience, const std::function<void(ExpertId)>& before_arrival = {}) {
    MoeLayer& layer = steps_.layer();
    layer.migrate(shifted(layer.placement()), {.bytes_per_step = chunk_bytes,
                                               .patience_steps = patience,
                                               .path = path_,
                                               .before_arrival = before_arrival});
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
  PathRequest path_;
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

std::size_t num_chunks_of_an_expert() {
  return (expert_bytes() + Failing::chunk_bytes - 1) / Failing::chunk_bytes;
}

constexpr std::array ways{PathRequest::automatic, PathRequest::message};

void expect_cancelled(PathRequest path, ChunkFault fault, std::size_t number,
                      const std::vector<std::string>& parts) {
  on_logging_ranks([&](Communicator& communicator, const Backend& backend) {
    Failing failing(communicator, backend, {.fault = fault, .sender = Rank{0}, .number = number}, path);
    failing.expect_cancelled(failing.migrate(100), parts);
  });
}

TEST(MigrationFaultsContract, WeightsThatChangedOnTheWayCancelItOnAllRanks) {
  const std::vector<std::string> parts{
      "rank 1: the weights of expert 0 of layer 0 for epoch 1 from rank 0 to rank 1", "not what they were"};
  for (const PathRequest path : ways) {
    for (const std::size_t number : {std::size_t{0}, std::size_t{1}, num_chunks_of_an_expert() - 1})
      expect_cancelled(path, ChunkFault::flip_weights, number, parts);
  }
}

TEST(MigrationFaultsContract, AHeaderThatChangedOnTheWayCancelsItOnAllRanks) {
  for (const PathRequest path : ways)
    expect_cancelled(path, ChunkFault::flip_header, 1, {"of expert 1 of layer 0 for epoch 1", "was to come"});
}

TEST(MigrationFaultsContract, AChunkThatIsLostCancelsItOnAllRanks) {
  expect_cancelled(PathRequest::message, ChunkFault::drop, 1,
                   {"from byte 800", "byte 400 of the weights of expert 0"});
  expect_cancelled(PathRequest::message, ChunkFault::twice, 1,
                   {"from byte 400", "byte 800 of the weights of expert 0"});
}

TEST(MigrationFaultsContract, AMigrationThatComesToAHaltIsCancelledOnAllRanks) {
  on_logging_ranks([&](Communicator& communicator, const Backend& backend) {
    const std::size_t last = num_chunks_of_an_expert() - 1;
    Failing failing(communicator, backend, {.fault = ChunkFault::drop, .sender = Rank{0}, .number = last},
                    PathRequest::message);
    failing.expect_cancelled(failing.migrate(40),
                             {"no progress in 40 steps", "expert 0", "from rank 0 to rank 1"});
  });
}

TEST(MigrationFaultsContract, AChunkThatIsLateDelaysItAndNoStep) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    if (communicator.size() < 2) return;
    for (const PathRequest path : ways) {
      Failing failing(communicator, backend, {.fault = ChunkFault::delay, .sender = Rank{0}, .number = 2},
                      path);
      const MigrationReport report = failing.migrate(200);
      EXPECT_EQ(report.state, MigrationState::switched) << report.reason;
      EXPECT_EQ(failing.steps().layer().placement().epoch(), 1U);
      failing.steps().run();
    }
  });
}

TEST(MigrationFaultsContract, OneThatIsGivenUpBeforeALateChunkComesIsNotTakenForTheNext) {
  for (const PathRequest path : ways) {
    on_logging_ranks([&](Communicator& communicator, const Backend& backend) {
      Failing failing(communicator, backend, {.fault = ChunkFault::delay, .sender = Rank{0}, .number = 2},
                      path);
      failing.expect_cancelled(failing.migrate(2), {"no progress in 2 steps"});
    });
  }
}

TEST(MigrationFaultsContract, ARankWithoutMemoryCancelsItOnAllRanks) {
  on_logging_ranks([&](Communicator& communicator, const Backend& backend) {
    Failing failing(communicator, backend, {}, PathRequest::automatic);
    int arrivals = 0;
    const auto fail = [&](ExpertId) {
      if (communicator.rank() == Rank{1} && ++arrivals == 2) throw std::bad_alloc();
    };
    failing.expect_cancelled(failing.migrate(200, fail), {"rank 1: "});
  });
}

}  // namespace
}  // namespace moewe
