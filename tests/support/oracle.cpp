#include "tests/support/oracle.hpp"

#include <cmath>

namespace moewe::test {
namespace {

/// y = W x for W [rows, columns], row-major.
std::vector<double> multiply(const std::vector<float>& w, const std::vector<double>& x) {
  std::vector<double> y(w.size() / x.size(), 0.0);
  for (std::size_t row = 0; row < y.size(); ++row) {
    for (std::size_t column = 0; column < x.size(); ++column)
      y[row] += w[row * x.size() + column] * x[column];
  }
  return y;
}

struct PlainExpert {
  std::vector<float> gate, up, down;

  PlainExpert(const ExpertShape& shape, const WeightSource& source, ExpertId id)
      : gate(shape.hidden * shape.intermediate), up(gate.size()), down(gate.size()) {
    source.read_expert(id, {gate, up, down});
  }

  std::vector<double> operator()(const std::vector<double>& x) const {
    std::vector<double> hidden = multiply(gate, x);
    const std::vector<double> raised = multiply(up, x);
    for (std::size_t i = 0; i < hidden.size(); ++i)
      hidden[i] = hidden[i] / (1 + std::exp(-hidden[i])) * raised[i];
    return multiply(down, hidden);
  }
};

}  // namespace

std::vector<double> plain_moe(const LayerSpec& spec, const WeightSource& source, const Routing& routing,
                              std::span<const float> x) {
  const std::size_t hidden = spec.expert.hidden;
  std::vector<PlainExpert> experts;
  for (std::size_t e = 0; e < spec.num_experts; ++e) experts.emplace_back(spec.expert, source, expert_at(e));
  std::vector<double> y(x.size(), 0.0);
  for (std::size_t i = 0; i < routing.num_tokens * routing.top_k; ++i) {
    const std::size_t token = i / routing.top_k;
    const std::vector<double> row(x.begin() + static_cast<std::ptrdiff_t>(token * hidden),
                                  x.begin() + static_cast<std::ptrdiff_t>((token + 1) * hidden));
    const std::vector<double> output = experts[index(routing.experts[i])](row);
    for (std::size_t h = 0; h < hidden; ++h) y[token * hidden + h] += routing.weights[i] * output[h];
  }
  return y;
}

}  // namespace moewe::test
