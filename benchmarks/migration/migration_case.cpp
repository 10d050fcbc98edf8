#include "benchmarks/migration/migration_case.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "comm/error.hpp"
#include "runtime/kernels/elementwise.hpp"
#include "tests/support/generated_model.hpp"

namespace moewe::bench {

EngineOptions engine_options(const MigrationCase& migration_case) {
  EngineOptions options;
  options.exchange.path = migration_case.path;
  return options;
}

TokenRange own_tokens(const MigrationCase& migration_case, const Communicator& communicator) {
  const std::size_t count = migration_case.tokens_per_rank;
  return {index(communicator.rank()) * count, count};
}

Batch::Batch(const MigrationCase& migration_case, const Communicator& communicator)
    : num_tokens_(migration_case.tokens_per_rank),
      top_k_(migration_case.spec.router.top_k),
      dtype_(migration_case.dtype) {
  const std::vector<float> rows =
      test::random_floats(num_tokens_ * migration_case.spec.expert.hidden, 100 + index(communicator.rank()));
  bytes_.resize(rows.size() * bytes_of(dtype_));
  if (dtype_ == Dtype::bf16) {
    std::vector<Bf16> half(rows.size());
    round_to_bf16(rows, half);
    std::memcpy(bytes_.data(), half.data(), bytes_.size());
  } else {
    std::memcpy(bytes_.data(), rows.data(), bytes_.size());
  }
  experts.resize(num_tokens_ * top_k_);
  weights.resize(experts.size(), 1.0F / static_cast<float>(top_k_));
  y.resize(rows.size());
}

void require_same(std::span<const float> y, std::span<const float> expected) {
  if (std::memcmp(y.data(), expected.data(), expected.size_bytes()) == 0) return;
  throw Error(ErrorKind::verification, "a step with migrations has other results than one without");
}

std::vector<double> most_of_ranks(Communicator& communicator, std::span<const double> seconds) {
  std::vector<std::int64_t> most;
  for (const double value : seconds) most.push_back(std::llround(value * 1e9));
  communicator.all_reduce({.sums = {}, .minima = {}, .maxima = most});
  std::vector<double> all;
  for (const std::int64_t value : most) all.push_back(static_cast<double>(value) * 1e-9);
  return all;
}

}  // namespace moewe::bench
