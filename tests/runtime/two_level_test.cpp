#include <array>
#include <atomic>
#include <gtest/gtest.h>
#include <mutex>
#include <random>
#include <set>

#include "runtime/paths/two_level_messages.hpp"
#include "tests/support/layer_runs.hpp"
#include "tests/support/observed_transport.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe {
namespace {

using test::bf16_floats;
using test::make_layer;
using test::make_routing;
using test::ObservedMessage;
using test::on_every_rank;
using test::part_of;
using test::RoutingCase;
using test::Share;
using test::share_of;
using two_level::Chunks;
using two_level::Manifest;
using two_level::Message;
using two_level::message_of;
using two_level::relay_of;

constexpr std::size_t num_kinds = 4;

/// Bytes that a rank sends, by the kind of message.
using Traffic = std::array<std::int64_t, num_kinds>;

/// What the formula lets a rank send away for its tokens, and get back, counted from the choices alone.
struct PlainTraffic {
  std::int64_t rows = 0;     ///< of each token, one for each other node that has any of its experts
  std::int64_t outputs = 0;  ///< one for each choice of an expert on another node
};

PlainTraffic plain_traffic(const Communicator& communicator, const RoutingCase& c) {
  const Topology& topology = communicator.topology();
  const Placement placement = contiguous_placement(c.spec.num_experts, communicator.size());
  const Share share = share_of(c.num_tokens, communicator);
  const test::OwnedRouting routing = make_routing(c, share.first, share.count);
  PlainTraffic traffic;
  for (std::size_t token = 0; token < share.count; ++token) {
    std::set<std::size_t> other_nodes;
    for (std::size_t k = 0; k < routing.top_k; ++k) {
      const Rank rank = placement.slot_of(routing.experts[token * routing.top_k + k]).rank;
      if (topology.share_node(rank, communicator.rank())) continue;
      other_nodes.insert(topology.node_of(rank));
      ++traffic.outputs;
    }
    traffic.rows += static_cast<std::int64_t>(other_nodes.size());
  }
  return traffic;
}

/// One step of a case over a backend.
void run_step(Communicator& communicator, const Backend& backend, const EngineOptions& options,
              const RoutingCase& c, const LayerOptions& layer_options) {
  Engine engine(communicator, backend, options);
  MoeLayer layer = make_layer(engine, c.spec, layer_options);
  const Share share = share_of(c.num_tokens, communicator);
  const std::vector<float> x =
      part_of(bf16_floats(c.num_tokens * c.spec.expert.hidden, 5), share, c.spec.expert.hidden);
  test::forward(layer, x, make_routing(c, share.first, share.count));
}

TEST(TwoLevelPath, SendsWhatTheFormulaSaysAndNoByteMore) {
  for (const Combine combine : {Combine::reproducible, Combine::fast}) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      for (const RoutingCase& c : test::routing_cases()) {
        on_every_rank([&](Communicator& communicator, const Backend& backend) {
          EngineOptions options;
          options.exchange.path = PathRequest::two_level;
          options.exchange.message_chunk_bytes = 300;
          LayerOptions layer_options;
          layer_options.dtype = dtype;
          layer_options.combine = combine;
          Traffic sent{};
          const auto count = [&](const ObservedMessage& message) {
            sent[static_cast<std::size_t>(message_of(message.tag))] +=
                static_cast<std::int64_t>(message.bytes.size());
            EXPECT_LE(message.bytes.size(), 300U);
            EXPECT_FALSE(communicator.topology().share_node(message.from, message.to));
          };
          run_step(communicator, test::observed(backend, count), options, c, layer_options);

          const PlainTraffic plain = plain_traffic(communicator, c);
          const auto row_bytes = static_cast<std::int64_t>(c.spec.expert.hidden * bytes_of(dtype));
          EXPECT_EQ(sent[static_cast<std::size_t>(Message::rows)], plain.rows * row_bytes) << c.name;
          const std::int64_t outputs = (combine == Combine::fast ? plain.rows : plain.outputs) * row_bytes;
          std::array<std::int64_t, 2> all{outputs, sent[static_cast<std::size_t>(Message::outputs)]};
          communicator.all_reduce({.sums = all, .minima = {}, .maxima = {}});
          EXPECT_EQ(all[1], all[0]) << c.name;
        });
      }
    }
  }
}

/// Runs a step in which one message is spoilt, and returns what was thrown first.
std::string failure_of_spoilt(Message kind, const std::function<void(std::span<std::byte>)>& spoil) {
  const RoutingCase c = test::routing_cases().front();
  std::atomic<bool> is_spoilt{false};
  const auto observe = [&](const ObservedMessage& message) {
    const bool is_meant = message.from == Rank{3} && message_of(message.tag) == kind;
    if (is_meant && !is_spoilt.exchange(true)) spoil(message.bytes);
  };
  EngineOptions options;
  options.exchange.path = PathRequest::two_level;
  try {
    run_ranks(Topology({0, 0, 1, 1}), std::chrono::seconds(10), [&](Communicator& communicator) {
      run_step(communicator, test::observed(loopback_backend(), observe), options, c, {});
    });
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::verification) << error.what();
    return error.what();
  }
  return "";
}

template <typename T>
T& at(std::span<std::byte> bytes, std::size_t offset) {
  return *reinterpret_cast<T*>(bytes.data() + offset);
}

TEST(TwoLevelPath, CountsThatCannotBeAreNamedWithTheirSource) {
  const std::vector<std::function<void(two_level::Counts&)>> ways{
      [](auto& counts) { ++counts.generation; },
      [](auto& counts) { counts.num_assignments = std::uint64_t{1} << 60; },
      [](auto& counts) { counts.num_rows = counts.num_assignments + 1; },
      [](auto& counts) { counts.num_rows = 0; }};
  for (const auto& spoil : ways) {
    const std::string text = failure_of_spoilt(
        Message::counts, [&](std::span<std::byte> bytes) { spoil(at<two_level::Counts>(bytes, 0)); });
    EXPECT_NE(text.find("rank 3 announces"), std::string::npos) << text;
  }
}

TEST(TwoLevelPath, AManifestThatDoesNotFitIsNamedWithItsSource) {
  // One chunk for the two ranks of a node: two ends, then assignments.
  const auto first = [](std::span<std::byte> bytes) -> PlannedAssignment& {
    return at<PlannedAssignment>(bytes, 2 * sizeof(std::uint32_t));
  };
  const std::vector<std::function<void(std::span<std::byte>)>> ways{
      [](auto bytes) { at<std::uint32_t>(bytes, 0) = 1U << 30U; },
      [](auto bytes) { --at<std::uint32_t>(bytes, sizeof(std::uint32_t)); },
      [&](auto bytes) { first(bytes).row = 1U << 30U; }, [&](auto bytes) { first(bytes).slot = 1U << 30U; }};
  for (const auto& spoil : ways) {
    const std::string text = failure_of_spoilt(Message::manifest, spoil);
    EXPECT_NE(text.find("rank 3 sent"), std::string::npos) << text;
  }
}

TEST(TwoLevelPath, IsForAllRanksOfTwoNodesOrForNone) {
  const auto half = [](Rank a, Rank b) {
    const bool is_outermost = number(a) + number(b) == 3 && std::min(a, b) == Rank{0};
    return is_outermost ? PathKind::two_level : PathKind::message;
  };
  const auto inside = [](Rank, Rank) { return PathKind::two_level; };
  const std::vector<std::pair<std::function<PathKind(Rank, Rank)>, std::string>> refused{
      {half, "for all ranks of two nodes or for none"}, {inside, "are on one node"}};
  for (const auto& [between, text] : refused) {
    run_ranks(Topology({0, 0, 1, 1}), test::patience, [&](Communicator& communicator) {
      EngineOptions options;
      options.exchange.path_between = between;
      test::expect_shared_error(ErrorKind::invalid_input, text,
                                [&] { Engine(communicator, loopback_backend(), options); });
    });
  }
}

TEST(TwoLevelPath, IsRefusedWhereThereIsOneNodeOrNoSharedMemory) {
  EngineOptions options;
  options.exchange.path = PathRequest::two_level;
  run_ranks(3, test::patience, [&](Communicator& communicator) {
    test::expect_shared_error(ErrorKind::invalid_input, "all ranks are on one node",
                              [&] { Engine(communicator, loopback_backend(), options); });
  });
  Backend without_memory = loopback_backend();
  without_memory.make_peer_memory = [](Communicator&, MemoryMeter&, std::size_t) {
    return PeerMemoryOffer{nullptr, "denied"};
  };
  run_ranks(Topology({0, 1}), test::patience, [&](Communicator& communicator) {
    test::expect_shared_error(ErrorKind::invalid_input, "no shared memory: denied",
                              [&] { Engine(communicator, without_memory, options); });
  });
}

/// Slow links: two-level pays.
PathBasis basis_of_slow_links() {
  return {{32, 8, 8192, Combine::reproducible, 0}, {"any", LinkCost{0, 1e-8}, {}}, LinkCost{0, 1e-10}};
}

TEST(TwoLevelPath, IsTheEnginesByItselfWhereItsBasisSaysThatItPays) {
  run_ranks(Topology({0, 0, 1, 1}), test::patience, [&](Communicator& communicator) {
    for (const bool has_basis : {false, true}) {
      EngineOptions options;
      if (has_basis) options.exchange.basis = basis_of_slow_links();
      const Engine engine(communicator, loopback_backend(), options);
      for (const PathChoice& choice : engine.paths()) {
        if (communicator.topology().share_node(communicator.rank(), choice.peer)) continue;
        EXPECT_EQ(choice.kind, has_basis ? PathKind::two_level : PathKind::message);
      }
    }
  });
}

TEST(TwoLevelPath, IsNobodysWhereRanksHaveAnotherBasis) {
  run_ranks(Topology({0, 0, 1, 1}), test::patience, [&](Communicator& communicator) {
    EngineOptions options;
    options.exchange.basis = basis_of_slow_links();
    if (communicator.rank() == Rank{2}) options.exchange.basis->memory->s_per_byte *= 2;
    test::expect_shared_error(ErrorKind::disagreement, "basis of automatic paths",
                              [&] { Engine(communicator, loopback_backend(), options); });
  });
}

TEST(TwoLevelPath, SpreadsTheSourcesOfANodeOverTheRelaysOfTheOther) {
  const Topology topology({0, 0, 0, 1, 1, 2});
  EXPECT_EQ(relay_of(topology, Rank{0}, Rank{4}), Rank{3});
  EXPECT_EQ(relay_of(topology, Rank{1}, Rank{3}), Rank{4});
  EXPECT_EQ(relay_of(topology, Rank{2}, Rank{3}), Rank{3});
  EXPECT_EQ(relay_of(topology, Rank{4}, Rank{2}), Rank{1});
  EXPECT_EQ(relay_of(topology, Rank{2}, Rank{5}), Rank{5});
}

TEST(TwoLevelChunks, HoldEveryRowOnceAndNoMoreBytesThanTheyMayUnlessOneRowDoes) {
  std::mt19937_64 generator(3);
  for (int i = 0; i < 1000; ++i) {
    const std::size_t rows = generator() % 2000;
    const std::size_t row_bytes = 1 + generator() % 100;
    const std::size_t chunk_bytes = generator() % 1000;
    const Chunks chunks(rows, row_bytes, chunk_bytes);
    std::size_t next = 0;
    for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
      EXPECT_EQ(chunks.first_row(chunk), next);
      next += chunks.num_rows(chunk);
      EXPECT_TRUE(chunks.num_rows(chunk) == 1 || chunks.num_rows(chunk) * row_bytes <= chunk_bytes);
    }
    EXPECT_EQ(next, rows);
    EXPECT_LE(chunks.size(), Chunks::bound(rows + generator() % 10, row_bytes, chunk_bytes));
  }
  const Chunks many(std::size_t{1} << 30, 1000, 10);
  EXPECT_LE(many.size(), Chunks::most);
  EXPECT_EQ(many.end_row(many.size() - 1), std::size_t{1} << 30);
}

/// Two ranks, rows 0 and 1 in one chunk and row 2 in another.
struct SmallManifest {
  std::vector<std::uint32_t> ends{2, 3, 3, 4};
  std::vector<PlannedAssignment> assignments{
      {0, 0, 7, 0, 1.0F}, {1, 0, 8, 0, 1.0F}, {1, 0, 8, 1, 1.0F}, {2, 0, 9, 0, 1.0F}};

  bool is_sound() const { return Manifest{2, ends, assignments}.is_sound(Chunks(3, 8, 16)); }
};

TEST(TwoLevelManifest, IsSoundOnlyWhereEveryRowIsInItsChunkAndInOrder) {
  EXPECT_TRUE(SmallManifest().is_sound());
  for (std::size_t i = 0; i < 4; ++i) {
    for (const std::uint32_t wrong : {0U, 1U, 2U, 3U, 4U, 100U}) {
      SmallManifest ends, rows;
      ends.ends[i] = wrong;
      // Which rank of the node computes is the source's to say.
      const bool is_of_chunk = (i == 0 && wrong <= 3) || (i == 2 && wrong == 4);
      EXPECT_EQ(ends.is_sound(), is_of_chunk || wrong == SmallManifest().ends[i]) << i << ", " << wrong;
      rows.assignments[i].row = wrong;
      const bool is_same = wrong == SmallManifest().assignments[i].row;
      // Row 1 has two assignments, either of which may be row 0's as long as the other stays.
      const bool is_other = wrong == 0 && (i == 1 || i == 2);
      EXPECT_EQ(rows.is_sound(), is_same || is_other) << i << ", " << wrong;
    }
  }
}

}  // namespace
}  // namespace moewe
