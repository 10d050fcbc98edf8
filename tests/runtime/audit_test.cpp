#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <random>
#include <string>
#include <vector>

#include "comm/error.hpp"
#include "comm/loopback/run_ranks.hpp"
#include "runtime/moe_layer.hpp"
#include "tests/support/fault_injector.hpp"

namespace moewe {
namespace {

using test::Fault;
using test::FaultInjector;

constexpr std::size_t hidden = 16;
constexpr std::size_t num_experts = 8;
constexpr std::size_t top_k = 3;
constexpr std::size_t num_ranks = 4;
constexpr std::size_t tokens_of_rank = 11;
constexpr std::size_t num_steps = 2;
constexpr std::size_t no_event = SIZE_MAX;

/// A way for rows to travel, and what is summed where.
struct Way {
  std::string name;
  EngineOptions options;
  Topology topology;
  Dtype dtype = Dtype::f32;
  Combine combine = Combine::reproducible;
};

std::vector<Way> ways() {
  const Topology one_node({0, 0, 0, 0});
  EngineOptions direct, message, two_level, ring;
  for (EngineOptions* options : {&direct, &message, &two_level, &ring}) {
    options->verify = VerifyLevel::audit;
    options->exchange.message_chunk_bytes = 300;
  }
  direct.exchange.path = PathRequest::direct;
  message.exchange.path = PathRequest::message;
  two_level.exchange.path = PathRequest::two_level;
  ring.exchange.path = PathRequest::direct;
  ring.exchange.flow = Flow{.chunk_tokens = 3, .ring_chunks = 2};
  std::vector<Way> all{{"direct", direct, one_node},
                       {"direct, ring", ring, one_node},
                       {"message", message, one_node},
                       {"two-level", two_level, Topology({0, 0, 1, 1})}};
  for (std::size_t i = 0, count = all.size(); i < count; ++i) {
    Way fast = all[i];
    fast.name += ", fast";
    fast.combine = Combine::fast;
    fast.dtype = Dtype::bf16;
    all.push_back(fast);
  }
  return all;
}

/// Others in each step, so that what is left of one is wrong in the next.
std::vector<std::byte> rows_of(Rank rank, std::size_t step, Dtype dtype) {
  std::mt19937 random(static_cast<unsigned>(index(rank) + step * num_ranks + 1));
  std::normal_distribution<float> normal;
  std::vector<std::byte> rows(tokens_of_rank * hidden * bytes_of(dtype));
  for (std::size_t i = 0; i < tokens_of_rank * hidden; ++i) {
    const float value = normal(random);
    const Bf16 half = round_to_bf16(value);
    const void* const from = dtype == Dtype::f32 ? static_cast<const void*>(&value) : &half;
    std::memcpy(rows.data() + i * bytes_of(dtype), from, bytes_of(dtype));
  }
  return rows;
}

/// Experts that turn a row by their number: each has outputs of its own.
void turn_rows(ExpertId expert, std::span<const Row> rows, Dtype dtype) {
  const std::size_t by = (1 + index(expert)) * bytes_of(dtype);
  const std::size_t length = hidden * bytes_of(dtype);
  for (const Row& row : rows) {
    std::memcpy(row.output, row.input + by, length - by);
    std::memcpy(row.output + length - by, row.input, by);
  }
}

/// What each rank has made of its tokens, step by step.
using Outputs = std::vector<std::vector<float>>;

void run_steps(Communicator& communicator, const Backend& backend, const Way& way, Outputs& outputs) {
  Engine engine(communicator, backend, way.options);
  LayerOptions options;
  options.dtype = way.dtype;
  options.combine = way.combine;
  const LayerSpec spec{{hidden, 8}, num_experts, {top_k, true}};
  MoeLayer layer(
      engine, spec, contiguous_placement(num_experts, num_ranks),
      [&](ExpertId expert, std::span<const Row> rows, Stores) { turn_rows(expert, rows, way.dtype); },
      options);
  std::vector<float>& y = outputs[index(communicator.rank())];
  std::vector<ExpertId> experts;
  std::vector<float> weights;
  for (std::size_t i = 0; i < tokens_of_rank * top_k; ++i) {
    experts.push_back(expert_at((i * 5 + i / top_k + index(communicator.rank())) % num_experts));
    weights.push_back(1.0F / static_cast<float>(1 + i % 7));
  }
  for (std::size_t step = 0; step < num_steps; ++step) {
    const std::vector<std::byte> x = rows_of(communicator.rank(), step, way.dtype);
    y.resize((step + 1) * tokens_of_rank * hidden, -1.0F);
    const std::span<float> of_step = std::span(y).last(tokens_of_rank * hidden);
    layer.forward({x, way.dtype}, Routing{tokens_of_rank, top_k, experts, weights, {}}, of_step);
    EXPECT_EQ(engine.lane().held().by_name(), engine.lane().planned().by_name());
  }
}

Outputs run(const Way& way, const Backend& backend, std::chrono::duration<double> timeout) {
  Outputs outputs(num_ranks);
  run_ranks(way.topology, timeout,
            [&](Communicator& communicator) { run_steps(communicator, backend, way, outputs); });
  return outputs;
}

bool is_same(const Outputs& a, const Outputs& b) {
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    if (a[rank].size() != b[rank].size()) return false;
    if (std::memcmp(a[rank].data(), b[rank].data(), a[rank].size() * sizeof(float)) != 0) return false;
  }
  return true;
}

constexpr std::chrono::seconds patience{20};

TEST(Audit, HasTheBitsOfTheLedgerAndTakesWhatWasPlanned) {
  for (Way way : ways()) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      way.dtype = dtype;
      Way plain = way;
      plain.options.verify = VerifyLevel::ledger;
      EXPECT_TRUE(is_same(run(way, loopback_backend(), patience), run(plain, loopback_backend(), patience)))
          << way.name << ", " << name_of(dtype);
    }
  }
}

/// What became of faults of one kind on one way.
struct Tally {
  std::size_t harmless = 0;  // it hit nothing that was used: the outputs are right
  std::size_t verification = 0;
  std::size_t other = 0;  // timeout and communication
};

/// A flipped bit is named with the ranks between which it happened; on the two-level path with the ends of
/// the row's way, of which a message is one part.
void expect_named(const std::string& text, const Way& way, const test::Struck& struck) {
  const auto is_named = [&](Rank rank) {
    return text.find(fmt::format("rank {}", number(rank))) != std::string::npos;
  };
  const auto& [from, to] = struck;
  if (way.options.exchange.path != PathRequest::two_level) {
    EXPECT_TRUE(is_named(from) && (!to || is_named(*to))) << number(from) << ": " << text;
  } else if (to) {
    EXPECT_TRUE(is_named(from) || is_named(*to)) << number(from) << " to " << number(*to) << ": " << text;
  }
}

/// Expects the outputs without a fault or one of the errors that a fault may end in.
void run_with(FaultInjector& injector, const Way& way, const Outputs& expected, Tally& tally) {
  constexpr std::chrono::duration<double> soon{0.4},
      later{5};  // the former for what waits for something lost
  const bool is_flip = injector.fault() == Fault::flip;
  const bool loses_something = !is_flip && injector.fault() != Fault::delay;
  try {
    const Outputs outputs =
        run(way, test::faulty(loopback_backend(), injector), loses_something ? soon : later);
    EXPECT_TRUE(is_same(outputs, expected)) << "a wrong output was returned";
    if (injector.struck()) ++tally.harmless;  // else it came after all that it could happen to
  } catch (const Error& error) {
    const bool is_verification = error.kind() == ErrorKind::verification;
    EXPECT_TRUE(is_verification || error.kind() == ErrorKind::timeout ||
                error.kind() == ErrorKind::communication)
        << error.what();
    ++(is_verification ? tally.verification : tally.other);
    if (is_verification && is_flip && injector.struck()) expect_named(error.what(), way, *injector.struck());
  }
}

Tally spoil(const Way& way, Fault fault, std::size_t times) {
  FaultInjector none(fault, no_event, 0);
  const Outputs expected = run(way, test::faulty(loopback_backend(), none), patience);
  std::mt19937_64 random(7);
  Tally tally;
  for (std::size_t i = 0; i < times; ++i) {
    FaultInjector injector(fault, random() % none.num_events(), random());
    SCOPED_TRACE(fmt::format("{}, {} number {}", way.name, name_of(fault), i));
    run_with(injector, way, expected, tally);
  }
  ::testing::Test::RecordProperty(
      fmt::format("{}, {}", way.name, name_of(fault)),
      fmt::format("{} named, {} missed, {} harmless", tally.verification, tally.other, tally.harmless));
  return tally;
}

#ifdef MOEWE_SANITIZED  // which is slow
constexpr std::size_t num_flips = 10;
constexpr std::size_t num_others = 2;
#else
constexpr std::size_t num_flips = 100;
constexpr std::size_t num_others = 3;
#endif

/// So many, or what $MOEWE_FAULTS says: of each kind on each way.
std::size_t times_or(std::size_t otherwise) {
  const char* const times = std::getenv("MOEWE_FAULTS");
  return times == nullptr ? otherwise : std::stoul(times);
}

TEST(Audit, NoFlippedBitEndsInAWrongOutput) {
  for (const Way& way : ways()) {
    const std::size_t times = times_or(num_flips);
    const Tally tally = spoil(way, Fault::flip, times);
    EXPECT_GT(tally.verification, times / 10) << way.name;
    if (way.options.exchange.path == PathRequest::message) {
      EXPECT_EQ(tally.verification, times) << way.name;  // every bit of a message counts
    }
  }
}

/// So that the test above is known to spoil what counts.
TEST(Audit, WithoutItFlippedBitsDoEndInWrongOutputs) {
  Way way = ways()[2];
  way.options.verify = VerifyLevel::ledger;
  FaultInjector none(Fault::flip, no_event, 0);
  const Outputs expected = run(way, test::faulty(loopback_backend(), none), patience);
  std::size_t num_wrong = 0;
  for (std::size_t i = 0; i < num_flips; ++i) {
    FaultInjector injector(Fault::flip, i % none.num_events(), i);
    try {
      const Outputs outputs = run(way, test::faulty(loopback_backend(), injector), patience);
      num_wrong += is_same(outputs, expected) ? 0U : 1U;
    } catch (const Error&) {  // some are noticed all the same
    }
  }
  EXPECT_GT(num_wrong, num_flips / 4);
}

TEST(Audit, NoMessageThatIsLostRepeatedCutMovedOldOrLateEndsInAWrongOutput) {
  for (const Way& way : ways()) {
    for (const Fault fault : test::all_faults) {
      const bool has_messages = way.options.exchange.path != PathRequest::direct;
      const bool is_of_memory = fault == Fault::drop || fault == Fault::delay;
      if (fault == Fault::flip || (!is_of_memory && !has_messages)) continue;
      const std::size_t times = times_or(num_others);
      const Tally tally = spoil(way, fault, times);
      if (fault == Fault::stale || fault == Fault::truncate) {
        EXPECT_EQ(tally.harmless, 0U) << way.name << ", " << name_of(fault);
      }
      if (fault == Fault::delay) {
        EXPECT_EQ(tally.harmless, times) << way.name;
      }
    }
  }
}

}  // namespace
}  // namespace moewe
