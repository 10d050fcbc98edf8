#include "launch/step_inputs.hpp"

#include <algorithm>
#include <span>
#include <vector>

#include "launch/run_plan.hpp"

namespace moewe {

StepInputs::StepInputs(Engine& engine, const RunInputs& inputs, Dtype dtype)
    : inputs_(inputs),
      dtype_(dtype),
      tokens_(tokens_of_rank(inputs.tokens().num_tokens(), engine.communicator().size(),
                             engine.communicator().rank())),
      rows_(engine.memory(), tokens_name, num_values() * bytes_of(dtype)),
      experts_(engine.memory(), forced_routing_name),
      weights_(engine.memory(), forced_routing_name) {
  if (inputs_.routing() == nullptr) return;
  experts_.resize<ExpertId>(num_choices());
  weights_.resize<float>(num_choices());
}

TokenRows StepInputs::rows() const { return {{rows_.data(), num_values() * bytes_of(dtype_)}, dtype_}; }

void StepInputs::read(std::size_t layer, std::size_t step) {
  read_rows(layer, step);
  if (inputs_.routing() != nullptr) read_routing(layer, step);
}

void StepInputs::read_routing(std::size_t layer, std::size_t step) {
  const auto experts = experts_.resize<ExpertId>(num_choices());
  const auto weights = weights_.resize<float>(num_choices());
  inputs_.routing()->read(layer, step, inputs_.tokens().num_tokens(), tokens_, experts, weights);
  routing_ = {tokens_.count, inputs_.spec().router.top_k, experts, weights, {}};
}

void StepInputs::read_rows(std::size_t layer, std::size_t step) {
  const std::size_t hidden = inputs_.spec().expert.hidden;
  if (dtype_ == Dtype::f32) {
    inputs_.tokens().read(layer, step, tokens_, rows_.as<float>(num_values()));
    return;
  }
  constexpr std::size_t tokens_at_once = 64;
  std::vector<float> read(tokens_at_once * hidden);
  const std::span<Bf16> rows = rows_.as<Bf16>(num_values());
  for (std::size_t first = 0; first < tokens_.count; first += tokens_at_once) {
    const std::size_t count = std::min(tokens_at_once, tokens_.count - first);
    const std::span<float> some(read.data(), count * hidden);
    inputs_.tokens().read(layer, step, {tokens_.first + first, count}, some);
    std::transform(some.begin(), some.end(), rows.begin() + static_cast<std::ptrdiff_t>(first * hidden),
                   [](float value) { return round_to_bf16(value); });
  }
}

}  // namespace moewe
