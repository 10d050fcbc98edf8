#include "launch/reference_check.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <set>

#include "comm/error.hpp"
#include "launch/token_source.hpp"

namespace moewe {
namespace {

/// Choices whose scores differ by less could go either way with another order of summation.
constexpr float near_tie = 1e-6F;

std::vector<std::int32_t> read_ids(const TensorView& ids, std::size_t first, std::size_t count) {
  std::vector<std::int32_t> values(count);
  std::memcpy(values.data(), ids.data.data() + first * sizeof(std::int32_t), count * sizeof(std::int32_t));
  return values;
}

}  // namespace

double ReferenceResult::rms() const {
  return num_values == 0 ? 0 : std::sqrt(sum_of_squares / static_cast<double>(num_values));
}

double ReferenceResult::relative_err() const {
  if (max_abs_err == 0) return 0;
  return rms() == 0 ? HUGE_VAL : max_abs_err / rms();
}

ReferenceCheck::ReferenceCheck(const SafetensorsFile* file, const std::vector<std::size_t>& layers,
                               std::size_t hidden, std::size_t top_k)
    : file_(file), hidden_(hidden), top_k_(top_k) {
  for (const std::size_t layer : layers) {
    check_shape(layer, "output", hidden);
    check_shape(layer, "topk_ids", top_k);
    check_shape(layer, "topk_weights", top_k);
    const TensorView* ids = find(layer, "topk_ids");
    if (ids != nullptr && ids->dtype != "I32") {
      throw InvalidInput(fmt::format("{}: tensor '{}' has dtype {} instead of I32", file_->path(),
                                     layer_tensor(layer, "topk_ids"), ids->dtype));
    }
  }
}

const TensorView* ReferenceCheck::find(std::size_t layer, const char* what) const {
  return file_ == nullptr ? nullptr : file_->find(layer_tensor(layer, what));
}

void ReferenceCheck::check_shape(std::size_t layer, const char* what, std::size_t width) const {
  const TensorView* tensor = find(layer, what);
  if (tensor == nullptr) return;
  if (std::string_view(what) != "topk_ids")
    read_f32(*tensor, layer_tensor(layer, what), 0, {});  // checks the dtype
  const std::size_t rows = find(layer, "input")->shape[0];
  if (tensor->shape != std::vector<std::size_t>{rows, width}) {
    throw InvalidInput(fmt::format("{}: tensor '{}' has shape {} instead of [{}, {}]", file_->path(),
                                   layer_tensor(layer, what), describe_shape(tensor->shape), rows, width));
  }
}

void ReferenceCheck::compare(std::size_t layer, TokenRange range, const Routing& routing,
                             std::span<const float> y) {
  const TensorView* const outputs = find(layer, "output");
  const TensorView* const ids = find(layer, "topk_ids");
  const TensorView* const weights = find(layer, "topk_weights");
  result_.not_finite += std::count_if(y.begin(), y.end(), [](float value) { return !std::isfinite(value); });
  for (std::size_t token = 0; token < range.count; ++token) {
    const std::size_t row = range.first + token;
    // Where the experts differ, so do weights and outputs, and they are not an error of their own.
    if (ids != nullptr && !compare_ids(*ids, row, token, routing)) continue;
    if (weights != nullptr) compare_weights(*weights, row, token, routing);
    if (outputs != nullptr) compare_outputs(*outputs, row, y.subspan(token * hidden_, hidden_));
  }
}

bool ReferenceCheck::compare_ids(const TensorView& ids, std::size_t row, std::size_t token,
                                 const Routing& routing) {
  const std::vector<std::int32_t> expected = read_ids(ids, row * top_k_, top_k_);
  const std::size_t num_experts = routing.scores.size() / routing.num_tokens;
  const float* const scores = routing.scores.data() + token * num_experts;
  bool same = true;
  bool tie = std::set(expected.begin(), expected.end()).size() == expected.size();
  for (std::size_t k = 0; k < top_k_; ++k) {
    const std::int32_t ours = number(routing.experts[token * top_k_ + k]);
    if (ours == expected[k]) continue;
    same = false;
    const bool exists = expected[k] >= 0 && static_cast<std::size_t>(expected[k]) < num_experts;
    tie = tie && exists && std::abs(scores[ours] - scores[expected[k]]) < near_tie;
  }
  ++result_.compared_ids;
  if (!same) ++(tie ? result_.near_ties : result_.mismatched);
  return same;
}

void ReferenceCheck::compare_weights(const TensorView& weights, std::size_t row, std::size_t token,
                                     const Routing& routing) {
  std::vector<float> expected(top_k_);
  read_f32(weights, "topk_weights", row * top_k_, expected);
  for (std::size_t k = 0; k < top_k_; ++k) {
    const double difference =
        std::abs(static_cast<double>(routing.weights[token * top_k_ + k]) - expected[k]);
    if (!std::isfinite(difference)) ++result_.not_finite;
    result_.max_weight_err = std::max(result_.max_weight_err, difference);
  }
}

void ReferenceCheck::compare_outputs(const TensorView& outputs, std::size_t row, std::span<const float> y) {
  std::vector<float> expected(hidden_);
  read_f32(outputs, "output", row * hidden_, expected);
  for (std::size_t h = 0; h < hidden_; ++h) {
    const double difference = std::abs(static_cast<double>(y[h]) - expected[h]);
    if (!std::isfinite(difference)) ++result_.not_finite;
    result_.max_abs_err = std::max(result_.max_abs_err, difference);
    result_.sum_of_squares += static_cast<double>(expected[h]) * expected[h];
  }
  result_.num_values += static_cast<std::int64_t>(hidden_);
  ++result_.compared_outputs;
}

ReferenceResult ReferenceCheck::total(Communicator& communicator) const {
  ReferenceResult total;
  for (const ReferenceResult& rank : all_gather_values(communicator, result_)) {
    total.compared_outputs += rank.compared_outputs;
    total.compared_ids += rank.compared_ids;
    total.mismatched += rank.mismatched;
    total.near_ties += rank.near_ties;
    total.max_abs_err = std::max(total.max_abs_err, rank.max_abs_err);
    total.max_weight_err = std::max(total.max_weight_err, rank.max_weight_err);
    total.sum_of_squares += rank.sum_of_squares;
    total.num_values += rank.num_values;
    total.not_finite += rank.not_finite;
  }
  return total;
}

}  // namespace moewe
