#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "launch/token_range.hpp"
#include "runtime/routing.hpp"
#include "runtime/safetensors.hpp"

namespace moewe {

/// How far results are from recorded ones. Adds up over layers, steps and ranks.
struct ReferenceResult {
  std::int64_t compared_outputs = 0;  ///< rows
  std::int64_t compared_ids = 0;      ///< rows
  std::int64_t mismatched = 0;        ///< rows whose expert ids differ, near ties aside
  std::int64_t near_ties = 0;         ///< rows whose differing choices have scores closer than 1e-6
  double max_abs_err = 0;             ///< of outputs, over rows with the same ids
  double max_weight_err = 0;
  double sum_of_squares = 0;  ///< of the recorded outputs
  std::int64_t num_values = 0;
  std::int64_t not_finite = 0;  ///< outputs, and differences to recorded values

  double rms() const;

  /// max_abs_err over rms; 0 when nothing was compared.
  double relative_err() const;
};

/// Largest allowed max_abs_err / rms in f32, and largest max_weight_err: weights are at most 1.
inline constexpr double f32_tolerance = 2e-5;

/// Compares what one step of one layer computed with layers.N.output [T, hidden], .topk_ids [T, k] and
/// .topk_weights [T, k] of the input file, as far as they are there.
class ReferenceCheck {
 public:
  /// Throws InvalidInput when a recorded tensor has another shape than the results will have. Borrows `file`;
  /// null means that there is nothing to compare with.
  ReferenceCheck(const SafetensorsFile* file, const std::vector<std::size_t>& layers, std::size_t hidden,
                 std::size_t top_k);

  /// Local. `y` and `routing` are of the tokens in `range`.
  void compare(std::size_t layer, TokenRange range, const Routing& routing, std::span<const float> y);

  /// Collective: the result over all ranks.
  ReferenceResult total(Communicator& communicator) const;

 private:
  const TensorView* find(std::size_t layer, const char* what) const;
  void check_shape(std::size_t layer, const char* what, std::size_t width) const;
  bool compare_ids(const TensorView& ids, std::size_t row, std::size_t token, const Routing& routing);
  void compare_outputs(const TensorView& outputs, std::size_t row, std::span<const float> y);
  void compare_weights(const TensorView& weights, std::size_t row, std::size_t token, const Routing& routing);

  const SafetensorsFile* file_;
  std::size_t hidden_;
  std::size_t top_k_;
  ReferenceResult result_;
};

}  // namespace moewe
