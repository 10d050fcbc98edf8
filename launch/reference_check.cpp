#include "launch/reference_check.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <optional>
#include <set>

#include "comm/error.hpp"
#include "launch/token_source.hpp"

namespace moewe {
namespace {

/// Choices whose scores differ by less could go either way with another order of summation.
constexpr double near_tie = 1e-6;

/// One token of a routing.
Routing row_of(const Routing& routing, std::size_t token) {
  const std::size_t num_experts = routing.selection.size() / routing.num_tokens;
  return {1, routing.top_k, routing.experts.subspan(token * routing.top_k, routing.top_k),
          routing.weights.subspan(token * routing.top_k, routing.top_k),
          routing.selection.subspan(token * num_experts, num_experts)};
}

/// By how much what two experts are selected by differs; infinity where that is not known of both.
double score_difference(const Routing& row, std::int32_t a, std::int32_t b) {
  const auto num_experts = static_cast<std::int64_t>(row.selection.size());
  if (a < 0 || b < 0 || a >= num_experts || b >= num_experts) return HUGE_VAL;
  const double score_a = row.selection[static_cast<std::size_t>(a)];
  const double score_b = row.selection[static_cast<std::size_t>(b)];
  return std::isfinite(score_a) && std::isfinite(score_b) ? std::abs(score_a - score_b) : HUGE_VAL;
}

double relative(double err, double rms) {
  if (err == 0) return 0;
  return rms == 0 ? HUGE_VAL : err / rms;
}

}  // namespace

std::span<const NearTie> ReferenceResult::ties() const {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(near_ties, 0));
  return std::span(listed_ties).first(std::min(count, max_listed_ties));
}

double ReferenceResult::rms() const {
  return num_values == 0 ? 0 : std::sqrt(sum_of_squares / static_cast<double>(num_values));
}

double ReferenceResult::relative_err() const { return relative(max_abs_err, rms()); }

double ReferenceResult::relative_rms_err() const {
  if (num_values == 0) return 0;
  return relative(std::sqrt(sum_of_squared_errs / static_cast<double>(num_values)), rms());
}

bool ReferenceResult::within(const ReferenceTolerance& tolerance) const {
  return mismatched == 0 && not_finite == 0 && relative_err() <= tolerance.max_err &&
         relative_rms_err() <= tolerance.rms_err && max_weight_err <= tolerance.max_weight_err;
}

void ReferenceResult::add_not_finite(std::size_t layer, std::int64_t num_results) {
  if (num_results == 0) return;
  first_not_finite_layer = not_finite_results == 0 ? layer : std::min(first_not_finite_layer, layer);
  not_finite_results += num_results;
}

void ReferenceResult::add_tie(const NearTie& tie) {
  if (static_cast<std::size_t>(near_ties) < max_listed_ties) {
    listed_ties[static_cast<std::size_t>(near_ties)] = tie;
  }
  ++near_ties;
}

void ReferenceResult::add(const ReferenceResult& other) {
  const std::int64_t not_listed = other.near_ties - static_cast<std::int64_t>(other.ties().size());
  for (const NearTie& tie : other.ties()) add_tie(tie);
  near_ties += not_listed;
  compared_outputs += other.compared_outputs;
  compared_ids += other.compared_ids;
  mismatched += other.mismatched;
  max_abs_err = std::max(max_abs_err, other.max_abs_err);
  sum_of_squared_errs += other.sum_of_squared_errs;
  max_weight_err = std::max(max_weight_err, other.max_weight_err);
  sum_of_squares += other.sum_of_squares;
  num_values += other.num_values;
  not_finite += other.not_finite;
  add_not_finite(other.first_not_finite_layer, other.not_finite_results);
}

ReferenceCheck::ReferenceCheck(const SafetensorsFile* file, const std::vector<std::size_t>& layers,
                               std::size_t hidden, std::size_t top_k)
    : file_(file), hidden_(hidden), top_k_(top_k) {
  for (const std::size_t layer : layers) {
    check_shape(layer, "output", hidden);
    check_shape(layer, "topk_ids", top_k);
    check_shape(layer, "topk_weights", top_k);
    const TensorInfo* ids = find(layer, "topk_ids");
    if (ids != nullptr && ids->dtype != "I32") {
      throw InvalidInput(fmt::format("{}: tensor '{}' has dtype {} instead of I32", file_->path(),
                                     layer_tensor(layer, "topk_ids"), ids->dtype));
    }
  }
}

const TensorInfo* ReferenceCheck::find(std::size_t layer, const char* what) const {
  return file_ == nullptr ? nullptr : file_->find(layer_tensor(layer, what));
}

void ReferenceCheck::check_shape(std::size_t layer, const char* what, std::size_t width) const {
  const TensorInfo* tensor = find(layer, what);
  if (tensor == nullptr) return;
  if (std::string_view(what) != "topk_ids") {
    file_->read_f32(layer_tensor(layer, what), 0, {});  // checks the dtype
  }
  const std::size_t rows = recorded_tokens(*file_, layer, hidden_);
  if (tensor->shape != std::vector<std::size_t>{rows, width}) {
    throw InvalidInput(fmt::format("{}: tensor '{}' has shape {} instead of [{}, {}]", file_->path(),
                                   layer_tensor(layer, what), describe_shape(tensor->shape), rows, width));
  }
}

void ReferenceCheck::compare(std::size_t layer, TokenRange range, const Routing& routing,
                             std::span<const float> y) {
  const bool has_ids = find(layer, "topk_ids") != nullptr;
  const bool has_weights = find(layer, "topk_weights") != nullptr;
  const bool has_outputs = find(layer, "output") != nullptr;
  const std::int64_t not_finite =
      std::count_if(y.begin(), y.end(), [](float value) { return !std::isfinite(value); });
  result_.not_finite += not_finite;
  result_.add_not_finite(layer, not_finite);
  for (std::size_t t = 0; t < range.count; ++t) {
    const Routing row = row_of(routing, t);
    // Where the experts differ, so do weights and outputs, and they are not an error of their own.
    if (has_ids && !compare_ids(layer, range.first + t, row)) continue;
    if (has_weights) compare_weights(layer, range.first + t, row);
    if (has_outputs) compare_outputs(layer, range.first + t, y.subspan(t * hidden_, hidden_));
  }
}

bool ReferenceCheck::compare_ids(std::size_t layer, std::size_t token, const Routing& row) {
  std::vector<std::int32_t> recorded(top_k_);
  file_->read_bytes(*find(layer, "topk_ids"), token * top_k_ * sizeof(std::int32_t),
                    std::as_writable_bytes(std::span(recorded)));
  std::optional<NearTie> first;
  bool tie = std::set(recorded.begin(), recorded.end()).size() == recorded.size();
  for (std::size_t k = 0; k < top_k_; ++k) {
    const std::int32_t chosen = number(row.experts[k]);
    if (chosen == recorded[k]) continue;
    const double difference = score_difference(row, chosen, recorded[k]);
    if (!first) first = NearTie{layer, token, chosen, recorded[k], difference};
    tie = tie && difference < near_tie;
  }
  ++result_.compared_ids;
  if (!first) return true;
  if (tie) {
    result_.add_tie(*first);
  } else {
    ++result_.mismatched;
  }
  return false;
}

std::vector<float> ReferenceCheck::read_row(std::size_t layer, const char* what, std::size_t token,
                                            std::size_t width) const {
  std::vector<float> row(width);
  file_->read_f32(layer_tensor(layer, what), token * width, row);
  return row;
}

void ReferenceCheck::compare_weights(std::size_t layer, std::size_t token, const Routing& row) {
  const std::vector<float> recorded = read_row(layer, "topk_weights", token, top_k_);
  for (std::size_t k = 0; k < top_k_; ++k) {
    const double difference = std::abs(static_cast<double>(row.weights[k]) - recorded[k]);
    if (!std::isfinite(difference)) ++result_.not_finite;
    result_.max_weight_err = std::max(result_.max_weight_err, difference);
  }
}

void ReferenceCheck::compare_outputs(std::size_t layer, std::size_t token, std::span<const float> y) {
  const std::vector<float> recorded = read_row(layer, "output", token, hidden_);
  for (std::size_t h = 0; h < hidden_; ++h) {
    const double difference = std::abs(static_cast<double>(y[h]) - recorded[h]);
    if (!std::isfinite(difference)) ++result_.not_finite;
    result_.max_abs_err = std::max(result_.max_abs_err, difference);
    result_.sum_of_squared_errs += difference * difference;
    result_.sum_of_squares += static_cast<double>(recorded[h]) * recorded[h];
  }
  result_.num_values += static_cast<std::int64_t>(hidden_);
  ++result_.compared_outputs;
}

ReferenceResult ReferenceCheck::total(Communicator& communicator) const {
  ReferenceResult total;
  for (const ReferenceResult& rank : all_gather_values(communicator, result_)) total.add(rank);
  return total;
}

}  // namespace moewe
