#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <memory>
#include <numeric>
#include <optional>

#include "runtime/rounds.hpp"
#include "tests/support/layer_runs.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe {
namespace {

using test::bf16_floats;
using test::expect_shared_error;
using test::make_layer;
using test::make_routing;
using test::on_every_rank;
using test::OwnedRouting;
using test::part_of;
using test::RoutingCase;
using test::Share;
using test::share_of;

/// A layer and a step of it.
struct Job {
  std::string name;
  RoutingCase c;
  LayerOptions options;
  bool is_given;  ///< its routing comes from the caller
};

Job with(RoutingCase c, Dtype dtype, std::size_t shared, std::optional<OverflowPolicy> policy,
         bool is_given) {
  Job job{c.name, std::move(c), {}, is_given};
  job.options.dtype = dtype;
  job.c.spec.shared_intermediate = shared;
  if (policy) {
    job.options.capacity.emplace();
    job.options.capacity->factor = 0.8;
    job.options.capacity->policy = *policy;
  }
  job.name += fmt::format(", {}, {} shared, {}, {}", name_of(dtype), shared, policy ? "bounded" : "dropless",
                          is_given ? "given" : "routed");
  return job;
}

/// Case i of routing_cases() in ways that differ from case to case.
Job mixed_job(std::size_t i) {
  const std::optional<OverflowPolicy> policies[] = {std::nullopt, OverflowPolicy::drop_last, std::nullopt,
                                                    OverflowPolicy::drop_lowest_weight};
  const std::vector<RoutingCase> cases = test::routing_cases();
  return with(cases[i % cases.size()], i % 2 == 0 ? Dtype::f32 : Dtype::bf16, i % 3 == 0 ? 9 : 0,
              policies[i % 4], i % 5 != 1);
}

constexpr std::size_t num_jobs = 12;

/// A rank's part of a job: what goes in and what comes out.
class Part {
 public:
  Part(const Job& job, const Communicator& communicator)
      : share_(share_of(job.c.num_tokens, communicator)),
        routing_(make_routing(job.c, share_.first, share_.count)),
        rows_(part_of(bf16_floats(job.c.num_tokens * job.c.spec.expert.hidden, 5), share_,
                      job.c.spec.expert.hidden),
              job.options.dtype),
        is_given_(job.is_given),
        y(share_.count * job.c.spec.expert.hidden) {}

  LayerStep start(MoeLayer& layer) {
    std::fill(y.begin(), y.end(), std::numeric_limits<float>::quiet_NaN());
    return is_given_ ? layer.start(rows_, routing_, y) : layer.start(rows_, y);
  }

  const std::vector<float>& run(MoeLayer& layer) {
    LayerStep step = start(layer);
    layer.finish(step);
    return y;
  }

  std::size_t num_tokens() const { return share_.count; }

 private:
  Share share_;
  OwnedRouting routing_;
  test::StoredRows rows_;
  bool is_given_;

 public:
  std::vector<float> y;
};

std::int64_t most_of_all(Communicator& communicator, std::size_t mine) {
  std::array<std::int64_t, 1> most{static_cast<std::int64_t>(mine)};
  communicator.all_reduce({.sums = {}, .minima = {}, .maxima = most});
  return most[0];
}

/// A job without a limit: its results, and how much memory so many rounds would need on this rank.
class Reference {
 public:
  Reference(Communicator& communicator, const Backend& backend, const EngineOptions& options, const Job& job)
      : communicator_(communicator),
        num_lanes_(options.lanes),
        is_audited_(options.verify == VerifyLevel::audit),
        flow_(options.exchange.flow.value_or(Flow{})),
        lane_(communicator, backend, meter_, token_buffers_, options.exchange) {
    Engine engine(communicator, backend, options);
    MoeLayer layer = make_layer(engine, job.c.spec, job.options);
    beside_lanes_ = engine.memory().bytes() - engine.planned_memory().total();
    peak_of_loading_ = engine.memory().peak_bytes();
    Part part(job, communicator);
    y = part.run(layer);
    EXPECT_EQ(layer.report().num_rounds, job.c.num_tokens > 0 ? 1U : 0U);
    measure(job, part.num_tokens(), layer.report());
  }

  std::size_t most_rounds() const { return std::max<std::size_t>(1, bounds_.most_tokens_of_rank); }
  std::size_t round_bytes(std::size_t rounds) const { return most_round_bytes(lane_, bounds_, rounds); }

  /// The least limit that allows `rounds`.
  std::size_t limit_for(std::size_t rounds) const {
    return beside_lanes_ + num_lanes_ * (routing_bytes_ + round_bytes(rounds));
  }

  /// Collective: rounds that all ranks together take with limit_for(rounds) each.
  std::size_t expected_rounds(std::size_t rounds) const {
    std::size_t fewest = 1;
    while (round_bytes(fewest) > round_bytes(rounds)) ++fewest;
    return static_cast<std::size_t>(most_of_all(communicator_, fewest));
  }

  std::size_t beside_lanes() const { return beside_lanes_; }

  /// Counted at one time: the limit, or what loading the weights took before.
  std::size_t allowed_peak(std::size_t limit) const { return std::max(limit, peak_of_loading_); }

 private:
  void measure(const Job& job, std::size_t num_tokens, const StepReport& report) {
    const RouterSpec& router = job.c.spec.router;
    const auto& computed = report.computed_per_slot;
    bounds_ = {.num_tokens = job.c.num_tokens,
               .most_tokens_of_rank = static_cast<std::size_t>(most_of_all(communicator_, num_tokens)),
               .num_ranks = communicator_.size(),
               .top_k = router.top_k,
               .num_expected = static_cast<std::size_t>(
                   std::accumulate(computed.begin(), computed.end(), std::int64_t{0})),
               .row_bytes = job.c.spec.expert.hidden * bytes_of(job.options.dtype),
               .is_audited = is_audited_,
               .combine = job.options.combine,
               .flow = flow_};
    const auto expected = all_gather_values(communicator_, bounds_.num_expected);
    for (const Rank neighbour : communicator_.topology().node_ranks(communicator_.rank())) {
      bounds_.num_expected_on_node += expected[index(neighbour)];
    }
    const std::size_t choice = num_tokens * router.top_k * (sizeof(ExpertId) + sizeof(float));
    if (!job.is_given) routing_bytes_ += choice + num_tokens * job.c.spec.num_experts * sizeof(float);
    if (job.options.capacity) routing_bytes_ += choice;
  }

  Communicator& communicator_;
  std::size_t num_lanes_;
  bool is_audited_;
  Flow flow_;
  MemoryMeter meter_;
  TokenBuffers token_buffers_{meter_};
  Lane lane_;
  std::size_t beside_lanes_ = 0;
  std::size_t peak_of_loading_ = 0;
  std::size_t routing_bytes_ = 0;
  StepBounds bounds_;

 public:
  std::vector<float> y;
};

/// Memory that is a lane's alone was planned to the byte, name by name.
void expect_planned_as_used(const Engine& engine) {
  const MemoryPlan planned = engine.planned_memory();
  for (const auto& [name, bytes] : planned.by_name()) {
    const auto used = engine.memory().by_name().find(name);
    ASSERT_NE(used, engine.memory().by_name().end()) << name << " was planned and never used";
    EXPECT_EQ(used->second.peak_bytes, bytes) << name;
  }
  for (const auto& [name, use] : engine.memory().by_name()) {
    const bool is_beside = name.find("weights") != std::string::npos || name == Workspace::meter_name ||
                           engine.own_memory().by_name().contains(name);
    EXPECT_TRUE(is_beside || use.peak_bytes == 0 || planned.by_name().contains(name))
        << name << " was not planned";
  }
}

/// Two steps with the memory that `rounds` rounds need.
void check_rounds(Communicator& communicator, const Backend& backend, EngineOptions options, const Job& job,
                  const Reference& reference, std::size_t rounds) {
  options.memory_limit = reference.limit_for(rounds);
  Engine engine(communicator, backend, options);
  MoeLayer layer = make_layer(engine, job.c.spec, job.options);
  Part part(job, communicator);
  const std::size_t expected_rounds = job.c.num_tokens == 0 ? 0 : reference.expected_rounds(rounds);
  for (int step = 0; step < 2; ++step) {
    EXPECT_EQ(part.run(layer), reference.y) << job.name << " in " << rounds << " rounds";
    EXPECT_EQ(layer.report().num_rounds, expected_rounds) << job.name;
  }
  EXPECT_LE(engine.memory().peak_bytes(), reference.allowed_peak(options.memory_limit))
      << job.name << " in " << rounds << " rounds";
  expect_planned_as_used(engine);
}

TEST(LayerRoundsContract, AnyLimitFromTheLeastOnGivesTheSameBits) {
  for (std::size_t exchange = 0; exchange < test::exchanges().size(); ++exchange) {
    const auto [name, options] = test::exchanges()[exchange];
    SCOPED_TRACE(name);
    on_every_rank([&](Communicator& communicator, const Backend& backend) {
      for (std::size_t i = exchange; i < 2 * num_jobs; i += 2 * test::exchanges().size() + 1) {
        const Job job = mixed_job(i);
        const Reference reference(communicator, backend, options, job);
        for (const std::size_t rounds :
             {std::size_t{1}, (reference.most_rounds() + 2) / 3, reference.most_rounds()}) {
          check_rounds(communicator, backend, options, job, reference, rounds);
        }
      }
    });
  }
}

TEST(LayerRoundsContract, EveryNumberOfRoundsUpToOneTokenEachGivesTheSameBits) {
  const RoutingCase small{
      "a few tokens", {{16, 8}, 6, {2, true}}, 9, [](std::size_t, std::size_t k, const auto& shuffled) {
        return shuffled[k];
      }};
  const std::vector<Job> jobs{with(small, Dtype::f32, 0, std::nullopt, true),
                              with(small, Dtype::bf16, 5, OverflowPolicy::drop_last, true),
                              with(small, Dtype::f32, 5, OverflowPolicy::next_choice, false)};
  for (std::size_t exchange = 0; exchange < test::exchanges().size(); ++exchange) {
    const auto [name, options] = test::exchanges()[exchange];
    SCOPED_TRACE(name);
    on_every_rank([&](Communicator& communicator, const Backend& backend) {
      for (std::size_t i = 0; i < jobs.size(); ++i) {
        if ((i + communicator.size()) % test::exchanges().size() != exchange)
          continue;  // each meets all, in turn
        const Job& job = jobs[i];
        const Reference reference(communicator, backend, options, job);
        for (std::size_t rounds = 1; rounds <= reference.most_rounds(); ++rounds) {
          check_rounds(communicator, backend, options, job, reference, rounds);
        }
      }
    });
  }
}

TEST(LayerRoundsContract, ALimitFarAboveAnyNeedChangesNothing) {
  const Job job = mixed_job(0);
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    EngineOptions options;
    const Reference reference(communicator, backend, options, job);
    options.memory_limit = std::size_t{1} << 40;
    Engine engine(communicator, backend, options);
    MoeLayer layer = make_layer(engine, job.c.spec, job.options);
    Part part(job, communicator);
    EXPECT_EQ(part.run(layer), reference.y);
    EXPECT_EQ(layer.report().num_rounds, 1U);
  });
}

TEST(LayerRoundsContract, ALimitOnOneRankBelowOneTokensNeedIsRefusedTogetherAndSaysTheNeed) {
  const Job job = with(test::routing_cases().front(), Dtype::f32, 0, std::nullopt, true);
  RoutingCase narrow = test::routing_cases().front();
  narrow.spec.expert.hidden = 4;
  narrow.num_tokens = 1;
  const Job small = with(narrow, Dtype::f32, 0, std::nullopt, true);
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    EngineOptions options;
    const Reference reference(communicator, backend, options, job);
    const Reference small_reference(communicator, backend, options, small);
    const std::size_t least = reference.round_bytes(reference.most_rounds());
    std::vector<std::int64_t> leasts = all_gather_values(communicator, static_cast<std::int64_t>(least));
    const bool is_first = communicator.rank() == Rank{0};
    options.memory_limit = is_first ? 0 : std::size_t{1} << 40;
    std::size_t beside_both = 0;
    {
      Engine engine(communicator, backend, {});
      MoeLayer layer = make_layer(engine, job.c.spec, job.options);
      MoeLayer other = make_layer(engine, small.c.spec, small.options);
      beside_both = engine.memory().bytes() - engine.planned_memory().total();
    }
    if (is_first) options.memory_limit = beside_both + 2 * least - 1;
    Engine engine(communicator, backend, options);
    MoeLayer layer = make_layer(engine, job.c.spec, job.options);
    MoeLayer other = make_layer(engine, small.c.spec, small.options);
    Part part(job, communicator);
    Part small_part(small, communicator);
    for (int time = 0; time < 2; ++time) {
      expect_shared_error(ErrorKind::invalid_input,
                          fmt::format("even rounds of one token need {} bytes, and", leasts[0]),
                          [&] { part.run(layer); });
      EXPECT_EQ(small_part.run(other), small_reference.y);
    }
  });
}

TEST(LayerRoundsContract, ARoutingAboveTheLimitIsRefusedTogetherAndTheNextStepRuns) {
  RoutingCase few = test::routing_cases().front();
  RoutingCase many = few;
  many.num_tokens = 40'000;
  const Job small = with(few, Dtype::f32, 0, std::nullopt, false);
  const Job large = with(many, Dtype::f32, 0, std::nullopt, false);
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    EngineOptions options;
    const Reference reference(communicator, backend, options, small);
    options.memory_limit = reference.limit_for(1) + 10'000;
    Engine engine(communicator, backend, options);
    MoeLayer layer = make_layer(engine, small.c.spec, small.options);
    Part too_large(large, communicator);
    Part part(small, communicator);
    for (int time = 0; time < 2; ++time) {
      expect_shared_error(ErrorKind::invalid_input, "tokens needs", [&] { too_large.run(layer); });
      EXPECT_EQ(part.run(layer), reference.y);
      EXPECT_LE(engine.memory().peak_bytes(), reference.allowed_peak(options.memory_limit));
    }
  });
}

/// Layers of every kind on one engine, one step after the other and on both lanes.
class Sequence {
 public:
  Sequence(Engine& engine, const std::vector<Job>& jobs) {
    for (const Job& job : jobs) {
      layers_.push_back(std::make_unique<MoeLayer>(
          engine, job.c.spec, contiguous_placement(job.c.spec.num_experts, engine.communicator().size()),
          test::GeneratedWeights(job.c.spec, test::weights_seed), job.options));
      parts_.push_back(std::make_unique<Part>(job, engine.communicator()));
    }
  }

  const std::vector<float>& run(std::size_t i) { return parts_[i]->run(*layers_[i]); }

  void run_both(std::size_t a, std::size_t b) {
    LayerStep first = parts_[a]->start(*layers_[a]);
    LayerStep second = parts_[b]->start(*layers_[b]);
    layers_[a]->finish(first);
    layers_[b]->finish(second);
  }

  const std::vector<float>& result(std::size_t i) const { return parts_[i]->y; }
  MoeLayer& layer(std::size_t i) { return *layers_[i]; }

 private:
  std::vector<std::unique_ptr<MoeLayer>> layers_;
  std::vector<std::unique_ptr<Part>> parts_;
};

std::vector<Job> many_jobs() {
  std::vector<Job> jobs;
  for (std::size_t i = 0; i < num_jobs; ++i) jobs.push_back(mixed_job(i));
  return jobs;
}

/// Pairs of jobs in an order that jumps between large and small ones.
constexpr std::size_t partner(std::size_t i) { return (7 * i + 3) % num_jobs; }

TEST(LayerRoundsContract, MemoryIsPlannedToTheByteForAnySequenceOfSteps) {
  const std::vector<Job> jobs = many_jobs();
  for (const auto& [name, options] : test::exchanges()) {
    SCOPED_TRACE(name);
    on_every_rank([&](Communicator& communicator, const Backend& backend) {
      Engine engine(communicator, backend, options);
      Sequence sequence(engine, jobs);
      for (std::size_t i = 0; i < num_jobs; ++i) {
        sequence.run(i);
        expect_planned_as_used(engine);
        sequence.run_both(partner(i), i);
        expect_planned_as_used(engine);
        EXPECT_EQ(engine.memory().peak_bytes(), engine.memory().bytes())
            << "nothing is given back between steps";
      }
    });
  }
}

TEST(LayerRoundsContract, MemoryIsPlannedToTheByteForStepsThatFail) {
  Job strict = with(test::routing_cases().front(), Dtype::f32, 0, OverflowPolicy::error, false);
  strict.options.capacity->factor = 0.1;
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    Engine engine(communicator, backend, {});
    MoeLayer layer = make_layer(engine, strict.c.spec, strict.options);
    Part part(strict, communicator);
    expect_shared_error(ErrorKind::overflow, "capacity", [&] { part.run(layer); });
    expect_planned_as_used(engine);
  });
}

TEST(LayerRoundsContract, NoSequenceOfStepsTakesMoreThanTheLimit) {
  // Each of them fits in it on an engine of its own, in rounds of a third of its tokens or less.
  const std::vector<Job> jobs = many_jobs();
  const EngineOptions options =
      test::exchanges().back().second;  // where a lane's memory serves every kind of path
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    std::vector<std::vector<float>> expected;
    std::size_t most_in_lanes = 0, beside = 0;
    for (const Job& job : jobs) {
      const Reference reference(communicator, backend, options, job);
      expected.push_back(reference.y);
      most_in_lanes = std::max(
          most_in_lanes, reference.limit_for((reference.most_rounds() + 2) / 3) - reference.beside_lanes());
    }
    {
      Engine engine(communicator, backend, options);
      Sequence sequence(engine, jobs);
      beside = engine.memory().bytes() - engine.planned_memory().total();
    }
    EngineOptions limited = options;
    limited.memory_limit = beside + most_in_lanes;
    Engine engine(communicator, backend, limited);
    Sequence sequence(engine, jobs);
    const std::size_t allowed = std::max(limited.memory_limit, engine.memory().peak_bytes());
    for (std::size_t i = 0; i < num_jobs; ++i) {
      EXPECT_EQ(sequence.run(i), expected[i]) << jobs[i].name;
      sequence.run_both(partner(i), i);
      EXPECT_EQ(sequence.result(partner(i)), expected[partner(i)]) << jobs[partner(i)].name;
      EXPECT_EQ(sequence.result(i), expected[i]) << jobs[i].name;
      EXPECT_LE(engine.memory().peak_bytes(), allowed) << "after " << jobs[i].name;
    }
    const MemoryPlan planned = engine.planned_memory();
    for (const auto& [part, bytes] : planned.by_name()) {
      EXPECT_LE(engine.memory().by_name().find(part)->second.peak_bytes, bytes) << part;
    }
  });
}

}  // namespace
}  // namespace moewe
