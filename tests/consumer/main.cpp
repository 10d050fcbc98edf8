// Two MoE layers in an engine that brings its own communicator, router and experts: each rank's batch goes
// through both in two halves, so that the rows of one half travel while the other half is computed.

#include <chrono>
#include <cmath>
#include <cstdio>
#include <mpi.h>
#include <vector>

#include "comm/mpi/mpi_backend.hpp"
#include "runtime/moe_layer.hpp"

namespace {

constexpr std::size_t hidden = 64;
constexpr std::size_t num_experts = 8;
constexpr std::size_t top_k = 2;
constexpr std::size_t num_tokens = 100;  // of each half, on each rank

/// Any choice of experts: here token t takes experts t and t + 1.
struct OwnRouting {
  std::vector<moewe::ExpertId> experts;
  std::vector<float> weights;

  OwnRouting() {
    for (std::size_t t = 0; t < num_tokens; ++t) {
      experts.push_back(moewe::expert_at(t % num_experts));
      experts.push_back(moewe::expert_at((t + 1) % num_experts));
      weights.insert(weights.end(), {0.75F, 0.25F});
    }
  }
  operator moewe::Routing() const { return {num_tokens, top_k, experts, weights, {}}; }
};

/// Any expert: here expert e multiplies by e + 1. Called on the rank that holds the expert.
void run_expert(moewe::ExpertId expert, std::span<const moewe::Row> rows) {
  for (const moewe::Row& row : rows) {
    const auto* x = reinterpret_cast<const float*>(row.input);
    auto* y = reinterpret_cast<float*>(row.output);
    for (std::size_t h = 0; h < hidden; ++h) y[h] = static_cast<float>(moewe::number(expert) + 1) * x[h];
  }
}

struct HalfBatch {
  std::vector<float> x = std::vector<float>(num_tokens * hidden, 1.0F);
  std::vector<float> between = std::vector<float>(x.size());
  std::vector<float> y = std::vector<float>(x.size());
};

int count_wrong(const HalfBatch& half) {
  int num_wrong = 0;
  for (std::size_t i = 0; i < half.y.size(); ++i) {
    const std::size_t token = i / hidden;
    const double factor = 0.75 * static_cast<double>(token % num_experts + 1) +
                          0.25 * static_cast<double>((token + 1) % num_experts + 1);
    if (std::abs(half.y[i] - factor * factor) > 1e-4) ++num_wrong;
  }
  return num_wrong;
}

int run(MPI_Comm comm) {
  const auto communicator = moewe::make_mpi_communicator(comm, std::chrono::seconds(60));
  moewe::Engine engine(*communicator, moewe::mpi_backend(), {.threads = 1, .lanes = 2});
  const moewe::LayerSpec spec{{hidden, hidden}, num_experts, {top_k}};
  const moewe::Placement placement = moewe::contiguous_placement(num_experts, communicator->size());
  moewe::MoeLayer first(engine, spec, placement, run_expert);
  moewe::MoeLayer second(engine, spec, placement, run_expert);

  const OwnRouting routing;
  HalfBatch a, b;
  moewe::LayerStep first_a = first.start(a.x, routing, a.between);
  moewe::LayerStep first_b = first.start(b.x, routing, b.between);
  first.finish(first_a);
  moewe::LayerStep second_a = second.start(a.between, routing, a.y);
  first.finish(first_b);
  moewe::LayerStep second_b = second.start(b.between, routing, b.y);
  second.finish(second_a);
  second.finish(second_b);
  return count_wrong(a) + count_wrong(b);
}

}  // namespace

int main(int argc, char** argv) {
  int thread_level = MPI_THREAD_SINGLE;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &thread_level);
  const int num_wrong = run(MPI_COMM_WORLD);
  std::printf("%d values are wrong\n", num_wrong);
  MPI_Finalize();
  return num_wrong == 0 ? 0 : 1;
}
