#include "runtime/router.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <fmt/format.h>
#include <limits>

#include "comm/error.hpp"
#include "runtime/kernels/elementwise.hpp"
#include "runtime/kernels/expert_choice.hpp"
#include "runtime/layer_memory.hpp"
#include "runtime/parallel.hpp"

namespace moewe {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

/// Tokens whose logits are computed together.
constexpr std::size_t tile_rows = 64;

/// The values of `x` from `first` on: where they lie if they are f32, else widened into `scratch`.
const float* rows_in_f32(const TokenRows& x, std::size_t first, std::span<float> scratch) {
  if (x.dtype == Dtype::f32) return reinterpret_cast<const float*>(x.bytes.data()) + first;
  widen_bf16({reinterpret_cast<const Bf16*>(x.bytes.data()) + first, scratch.size()}, scratch);
  return scratch.data();
}

/// Without a branch per element, so that it costs little beside the matmul.
bool all_finite(std::span<const float> values) {
  constexpr std::uint32_t infinity = 0x7F800000U;
  std::uint32_t largest = 0;
  for (const float value : values) {
    largest = std::max(largest, std::bit_cast<std::uint32_t>(value) & 0x7FFFFFFFU);
  }
  return largest < infinity;
}

std::size_t first_not_finite(std::span<const float> values) {
  const auto found = std::find_if_not(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
  return static_cast<std::size_t>(found - values.begin());
}

void require_finite_input(std::span<const float> row, std::size_t token) {
  if (all_finite(row)) return;
  const std::size_t column = first_not_finite(row);
  throw InvalidInput(
      fmt::format("router: token {} has {} in column {}; inputs must be finite", token, row[column], column));
}

void require_finite_logits(std::span<const float> logits, std::size_t token) {
  if (all_finite(logits)) return;
  const std::size_t expert = first_not_finite(logits);
  throw InvalidInput(fmt::format(
      "router: token {} gives expert {} the logit {}; inputs and router weights must be finite and not so "
      "large that their product is not",
      token, expert, logits[expert]));
}

}  // namespace

Router::Router(RouterSpec spec, std::shared_ptr<const Matmul> matmul, MemoryMeter& meter,
               std::span<const float> weights, std::span<const float> selection_bias)
    : spec_(spec),
      matmul_(std::move(matmul)),
      packed_weights_(matmul_->pack(meter, router_weights_name, weights)),
      selection_bias_(selection_bias.begin(), selection_bias.end()) {
  expects(selection_bias.size() == (spec_.has_selection_bias ? num_experts() : 0),
          "a router has a selection bias for every expert or for none, as its specification says");
  expects(spec_.num_groups > 0 && num_experts() % spec_.num_groups == 0,
          "groups of experts are equally large");
  expects(spec_.top_k > 0 && spec_.top_k <= num_experts() / spec_.num_groups * spec_.kept_groups,
          "a router chooses some of the experts that can be selected");
  const std::size_t bad = first_not_finite(selection_bias_);
  if (bad == selection_bias_.size()) return;
  throw InvalidInput(fmt::format("router: the selection bias of expert {} is {}, but must be finite", bad,
                                 selection_bias_[bad]));
}

std::vector<std::span<const std::byte>> Router::bytes() const {
  return {{packed_weights_.data(), packed_weights_.size()}, std::as_bytes(std::span(selection_bias_))};
}

std::size_t Router::scratch_bytes_for(const LayerSpec& spec) {
  const std::size_t num_biases = spec.router.has_selection_bias ? spec.num_experts : 0;
  return (tile_rows * spec.expert.hidden + num_biases + spec.router.num_groups) * sizeof(float);
}

std::size_t Router::scratch_bytes() const {
  return (tile_rows * matmul_->in() + choice_scratch_length()) * sizeof(float);
}

void Router::route(const TokenRows& x, std::size_t num_tokens, RoutingTable& routing,
                   Workspace& workspace) const {
  routing.resize(num_tokens, spec_.top_k, num_experts());
  workspace.reserve(scratch_bytes());
  parallel_for(workspace.num_threads(), (num_tokens + tile_rows - 1) / tile_rows,
               [&](std::size_t tile, std::size_t thread) {
                 const std::size_t first = tile * tile_rows;
                 const std::span bytes = workspace.of_thread(thread, scratch_bytes());
                 auto* const scratch = reinterpret_cast<float*>(bytes.data());
                 route_tile(x, first, std::min(tile_rows, num_tokens - first), routing, scratch);
                 if (const Meanwhile& meanwhile = workspace.meanwhile_of(thread)) meanwhile();
               });
}

void Router::route_tile(const TokenRows& x, std::size_t first, std::size_t count, RoutingTable& routing,
                        float* scratch) const {
  const std::size_t hidden = matmul_->in();
  const std::size_t k = spec_.top_k;
  const float* const rows = rows_in_f32(x, first * hidden, {scratch, count * hidden});
  const std::span<float> choice_scratch(scratch + tile_rows * hidden, choice_scratch_length());
  const std::span<float> logits = routing.selection().subspan(first * num_experts(), count * num_experts());
  for (std::size_t t = 0; t < count; ++t) require_finite_input({rows + t * hidden, hidden}, first + t);
  matmul_->apply(rows, count, packed_weights_.data(), logits.data());
  for (std::size_t t = 0; t < count; ++t) {
    const std::span<float> mine = logits.subspan(t * num_experts(), num_experts());
    require_finite_logits(mine, first + t);
    choose(mine, choice_scratch, routing.experts().subspan((first + t) * k, k),
           routing.weights().subspan((first + t) * k, k));
  }
}

/// `selection` holds one token's logits at first, and what its experts are selected by in the end.
void Router::choose(std::span<float> selection, std::span<float> scratch, std::span<ExpertId> experts,
                    std::span<float> weights) const {
  spec_.score == Score::softmax ? softmax(selection) : sigmoid(selection);
  std::span<const float> scores = selection;
  const std::size_t num_biased = selection_bias_.size();
  if (num_biased > 0) {
    scores = scratch.first(num_biased);
    std::copy(selection.begin(), selection.end(), scratch.begin());
    for (std::size_t e = 0; e < num_biased; ++e) selection[e] += selection_bias_[e];
  }
  if (spec_.kept_groups < spec_.num_groups) mask_groups(spec_, selection, scratch.subspan(num_biased));
  choose_top_k(selection, experts, weights);
  weigh_choice(spec_, scores, experts, weights);
}

void softmax(std::span<float> logits) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  float sum = 0.0F;
  for (float& value : logits) {
    value = std::exp(value - largest);
    sum += value;
  }
  for (float& value : logits) value /= sum;
}

void sigmoid(std::span<float> logits) {
  for (float& value : logits) value = 1.0F / (1.0F + std::exp(-value));
}

void mask_groups(const RouterSpec& spec, std::span<float> selection, std::span<float> group_scores) {
  const std::size_t size = selection.size() / spec.num_groups;
  for (std::size_t g = 0; g < spec.num_groups; ++g) {
    group_scores[g] = score_group(spec.group_score, selection.data() + g * size, size);
  }
  for (std::size_t g = 0; g < spec.num_groups; ++g) {
    if (is_kept(group_scores.data(), spec.num_groups, g, spec.kept_groups)) continue;
    std::fill_n(selection.begin() + static_cast<std::ptrdiff_t>(g * size), size, minus_infinity);
  }
}

void choose_top_k(std::span<const float> selection, std::span<ExpertId> experts, std::span<float> values) {
  std::size_t num_chosen = 0;
  for (std::size_t e = 0; e < selection.size(); ++e) {
    if (num_chosen < experts.size()) {
      ++num_chosen;
    } else if (!(selection[e] > values.back())) {
      continue;
    }
    // Ids come in ascending order, so that moving only smaller values down keeps the lower id first.
    std::size_t place = num_chosen - 1;
    for (; place > 0 && selection[e] > values[place - 1]; --place) {
      values[place] = values[place - 1];
      experts[place] = experts[place - 1];
    }
    values[place] = selection[e];
    experts[place] = expert_at(e);
  }
}

void weigh_choice(const RouterSpec& spec, std::span<const float> scores, std::span<const ExpertId> experts,
                  std::span<float> weights) {
  float sum = 0.0F;
  for (std::size_t k = 0; k < experts.size(); ++k) {
    weights[k] = scores[index(experts[k])];
    sum += weights[k];
  }
  // Published routers of sigmoid scores add this, lest they divide by 0 where all the chosen scores are 0.
  // Those of softmax scores add nothing: the largest score is chosen and at least 1 / num_experts, and beside
  // such a sum this is less than half a unit in the last place. So adding it always changes no bit of theirs,
  // and is right too for softmax scores with a bias, where the chosen ones may all be 0.
  if (spec.renormalise) {
    sum += 1e-20F;
    for (float& weight : weights) weight /= sum;
  }
  for (float& weight : weights) weight *= spec.scale;
}

}  // namespace moewe
