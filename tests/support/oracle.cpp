#include "tests/support/oracle.hpp"

#include <cmath>
#include <numbers>

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

double activated(Activation activation, double t) {
  switch (activation) {
    case Activation::silu:
      return t / (1 + std::exp(-t));
    case Activation::gelu:
      return 0.5 * t * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (t + 0.044715 * t * t * t)));
    case Activation::relu:
      return t > 0 ? t : 0;
  }
  return 0;
}

void round_to(Dtype dtype, std::vector<double>& values) {
  if (dtype == Dtype::f32) return;
  for (double& value : values) value = widen(round_to_bf16(static_cast<float>(value)));
}

struct PlainExpert {
  ExpertShape shape;
  std::vector<float> gate, up, down;

  explicit PlainExpert(const ExpertShape& s)
      : shape(s),
        gate(s.gated ? s.hidden * s.intermediate : 0),
        up(s.hidden * s.intermediate),
        down(up.size()) {}

  std::vector<double> operator()(const std::vector<double>& x, Dtype dtype) const {
    const std::vector<double> raised = multiply(up, x);
    std::vector<double> hidden = shape.gated ? multiply(gate, x) : raised;
    for (std::size_t i = 0; i < hidden.size(); ++i) {
      hidden[i] = activated(shape.activation, hidden[i]) * (shape.gated ? raised[i] : 1);
    }
    round_to(dtype, hidden);
    return multiply(down, hidden);
  }
};

}  // namespace

std::vector<double> plain_moe(const LayerSpec& spec, const WeightSource& source, const Routing& routing,
                              std::span<const float> x, Dtype dtype) {
  const std::size_t hidden = spec.expert.hidden;
  std::vector<PlainExpert> experts(spec.num_experts, PlainExpert(spec.expert));
  for (std::size_t e = 0; e < spec.num_experts; ++e) {
    source.read_expert(expert_at(e), {experts[e].gate, experts[e].up, experts[e].down});
  }
  PlainExpert shared(spec.shared_expert());
  if (spec.has_shared_expert()) source.read_shared_expert({shared.gate, shared.up, shared.down});
  std::vector<double> y(x.size(), 0.0);
  for (std::size_t token = 0; token < routing.num_tokens; ++token) {
    const std::vector<double> row(x.begin() + static_cast<std::ptrdiff_t>(token * hidden),
                                  x.begin() + static_cast<std::ptrdiff_t>((token + 1) * hidden));
    const auto add = [&](double weight, const PlainExpert& expert, Dtype output_dtype) {
      std::vector<double> output = expert(row, dtype);
      round_to(output_dtype, output);
      for (std::size_t h = 0; h < hidden; ++h) y[token * hidden + h] += weight * output[h];
    };
    for (std::size_t i = token * routing.top_k; i < (token + 1) * routing.top_k; ++i) {
      if (routing.experts[i] != no_expert) add(routing.weights[i], experts[index(routing.experts[i])], dtype);
    }
    if (spec.has_shared_expert()) add(1, shared, Dtype::f32);
  }
  return y;
}

}  // namespace moewe::test
