#include "benchmarks/exchange/expected_sums.hpp"

#include <algorithm>
#include <cmath>

#include "benchmarks/exchange/cheap_expert.hpp"

namespace moewe::bench {
namespace {

/// What the cheap expert makes of one value, one number at a time.
float scaled(float factor, const std::byte* row, std::size_t i, Dtype dtype) {
  if (dtype == Dtype::f32) return factor * reinterpret_cast<const float*>(row)[i];
  return widen(round_to_bf16(factor * widen(reinterpret_cast<const Bf16*>(row)[i])));
}

/// A value passes through at most three roundings more: of the sum on a rank, of the sum on a node, and of
/// f32 sums in another order.
float relative_tolerance(Dtype dtype) { return dtype == Dtype::bf16 ? 3 * 0x1p-8F : 32 * 0x1p-23F; }

}  // namespace

ExpectedSums::ExpectedSums(const ExchangeCase& exchange)
    : sums_(exchange.num_tokens * exchange.format.hidden, 0.0F), tolerances_(sums_.size(), 0.0F) {
  const std::size_t hidden = exchange.format.hidden;
  const Dtype dtype = exchange.format.dtype;
  for (std::size_t choice = 0; choice < exchange.experts.size(); ++choice) {
    const std::size_t token = choice / exchange.top_k;
    const std::byte* row = exchange.x.data() + token * exchange.format.bytes();
    const float factor = factor_of(exchange.experts[choice]);
    for (std::size_t i = 0; i < hidden; ++i) {
      const float part = exchange.weights[choice] * scaled(factor, row, i, dtype);
      sums_[token * hidden + i] += part;
      tolerances_[token * hidden + i] += std::abs(part) * relative_tolerance(dtype);
    }
  }
}

std::size_t ExpectedSums::count_wrong(std::span<const float> y, Combine combine) const {
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const float most = combine == Combine::fast ? tolerances_[i] : 0.0F;
    if (!(std::abs(y[i] - sums_[i]) <= most)) ++wrong;  // NaN is wrong, too
  }
  return wrong;
}

}  // namespace moewe::bench
