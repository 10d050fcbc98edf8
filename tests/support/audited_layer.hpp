#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "runtime/moe_layer.hpp"
#include "tests/support/fault_injector.hpp"

/// A few steps of one small audited layer on ranks that are threads, whose rows travel in any way that there
/// is, and in which anything may go wrong.
namespace moewe::test {

inline constexpr std::size_t hidden = 16;
inline constexpr std::size_t num_experts = 8;
inline constexpr std::size_t top_k = 3;
inline constexpr std::size_t num_ranks = 4;
inline constexpr std::size_t experts_of_rank = num_experts / num_ranks;
inline constexpr std::size_t tokens_of_rank = 11;
inline constexpr std::size_t num_steps = 2;

/// How rows travel, and what is summed where.
struct Way {
  std::string name;
  EngineOptions options;
  Topology topology;
  Dtype dtype = Dtype::f32;
  Combine combine = Combine::reproducible;

  std::size_t row_bytes() const { return hidden * bytes_of(dtype); }
  bool has_messages() const { return options.exchange.path != PathRequest::direct; }
};

/// All of them, audited, with chunks so small that everything is cut.
std::vector<Way> ways();

/// A rank's tokens in a step, from 1: others in each, so that what is left of one is wrong in the next.
std::vector<std::byte> rows_of(Rank rank, std::size_t step, Dtype dtype);

/// The same in each step: experts and weights of [tokens_of_rank, top_k].
std::vector<ExpertId> experts_of(Rank rank);
std::vector<float> weights_of_choices();

inline Rank rank_of(ExpertId expert) { return rank_at(index(expert) / experts_of_rank); }

/// The experts turn a row by their number: each has outputs of its own. Writes one row's.
void turn_row(ExpertId expert, const std::byte* row, std::size_t row_bytes, std::byte* to);

/// What each rank has made of its tokens, complete step by complete step.
using Outputs = std::vector<std::vector<float>>;

/// Whether these are the bits of the first steps of the others.
bool begins(const Outputs& outputs, const Outputs& all);

/// How a run ended.
struct Outcome {
  struct Failure {
    ErrorKind kind;
    std::size_t step;
    std::string text;
  };

  Outputs outputs;
  std::vector<Failure> failures;  ///< of ranks that name one of their own, in rank order
};

/// Blocks. Ranks that can wait for nothing but what is lost fail at once.
Outcome run(const Way& way, FaultInjector& injector);

}  // namespace moewe::test
