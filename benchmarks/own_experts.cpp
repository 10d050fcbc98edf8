#include "benchmarks/own_experts.hpp"

#include <algorithm>
#include <numeric>
#include <random>

#include "comm/error.hpp"
#include "runtime/kernels/elementwise.hpp"

namespace moewe::bench {
namespace {

std::vector<std::uint32_t> shuffled(std::size_t count, std::mt19937& generator) {
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0U);
  std::shuffle(order.begin(), order.end(), generator);
  return order;
}

}  // namespace

OwnExperts::OwnExperts(const ExpertWork& work, const KeptWeights& weights, MatmulCache& matmuls,
                       std::size_t threads)
    : work_(work),
      mlp_(work.shape, work.dtype, work.dtype, matmuls),
      slots_(load_experts(mlp_, meter_, weights, work.experts)),
      workspace_(meter_, threads),
      table_(meter_) {
  lay_out_rows();
  fill_inputs();
}

void OwnExperts::lay_out_rows() {
  std::mt19937 generator(7);
  std::vector<std::uint32_t> slot_of_row;
  for (std::size_t slot = 0; slot < work_.rows.size(); ++slot) {
    slot_of_row.insert(slot_of_row.end(), work_.rows[slot], static_cast<std::uint32_t>(slot));
  }
  const std::size_t num_rows = slot_of_row.size();
  for (const std::uint32_t row : shuffled(num_rows, generator)) {
    assignments_.push_back({row, slot_of_row[row], 0, 0, 1.0F});
  }
  const std::vector<std::uint32_t> place = shuffled(num_rows, generator);
  for (PlannedAssignment& assignment : assignments_) assignment.row = place[assignment.row];
  inputs_ = Buffer(meter_, "inputs", num_rows * mlp_.row_bytes());
  outputs_ = Buffer(meter_, "outputs", num_rows * mlp_.output_bytes());
  const std::vector<std::int64_t> expected(work_.rows.begin(), work_.rows.end());
  table_.reset(expected, {.row_bytes = mlp_.row_bytes()});
  table_.add({Rank{0}, assignments_, inputs_.data(), &PlannedAssignment::row, num_rows, outputs_.data()});
  ledger_.open(VerifyLevel::off, expected);
}

void OwnExperts::fill_inputs() {
  std::mt19937 generator(8);
  std::normal_distribution<float> normal;
  std::vector<float> values(assignments_.size() * work_.shape.hidden);
  for (float& value : values) value = normal(generator);
  if (work_.dtype == Dtype::f32) {
    std::ranges::copy(values, inputs_.as<float>(values.size()).begin());
  } else {
    round_to_bf16(values, inputs_.as<Bf16>(values.size()));
  }
}

void OwnExperts::run() {
  run_experts(mlp_, table_, slots_, workspace_, ledger_);
  ++num_runs_;
}

std::span<const std::byte> OwnExperts::input(std::size_t n, std::size_t row) const {
  return {table_.rows(n)[row].input, mlp_.row_bytes()};
}

std::vector<float> OwnExperts::output(std::size_t n, std::size_t row) const {
  const std::byte* const from = table_.rows(n)[row].output;
  std::vector<float> values(work_.shape.hidden);
  if (work_.dtype == Dtype::f32) {
    std::copy_n(reinterpret_cast<const float*>(from), values.size(), values.begin());
  } else {
    widen_bf16({reinterpret_cast<const Bf16*>(from), values.size()}, values);
  }
  return values;
}

void OwnExperts::expect_all_counted() const {
  const auto computed = ledger_.computed_per_slot();
  for (std::size_t n = 0; n < work_.rows.size(); ++n) {
    expects(static_cast<std::size_t>(computed[n]) == num_runs_ * work_.rows[n], "every run counts every row");
  }
}

}  // namespace moewe::bench
