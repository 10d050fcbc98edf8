#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "launch/token_range.hpp"
#include "runtime/routing.hpp"
#include "runtime/safetensors.hpp"

namespace moewe {

/// How far results may be from recorded ones. Errors of outputs are relative to the root mean square (RMS) of
/// the recorded outputs; weights are at most 1 before a model scales them, and compared as they are.
struct ReferenceTolerance {
  double max_err;
  double rms_err;
  double max_weight_err;
};

/// In f32 only the order of sums differs. With bf16 activations, rows are rounded on their way.
inline constexpr ReferenceTolerance f32_tolerance{2e-5, 2e-5, 2e-5};
inline constexpr ReferenceTolerance bf16_tolerance{8e-2, 3e-3, 2e-5};

/// A row whose experts differ from the recorded ones although either choice is right: the first place where
/// they do, in a choice between scores that another order of summation could swap.
struct NearTie {
  std::size_t layer = 0;
  std::size_t token = 0;    ///< its number over all ranks
  std::int32_t chosen = 0;  ///< by this run
  std::int32_t recorded = 0;
  double score_difference = 0;  ///< between what the two are selected by
};

/// How far results are from recorded ones. Adds up over layers, steps and ranks.
struct ReferenceResult {
  std::int64_t compared_outputs = 0;  ///< rows
  std::int64_t compared_ids = 0;      ///< rows
  std::int64_t mismatched = 0;        ///< rows whose expert ids differ, near ties aside
  std::int64_t near_ties = 0;         ///< rows whose differing choices have scores closer than 1e-6
  double max_abs_err = 0;             ///< of outputs, over rows with the same ids
  double sum_of_squared_errs = 0;     ///< of the same
  double max_weight_err = 0;
  double sum_of_squares = 0;  ///< of the recorded outputs
  std::int64_t num_values = 0;
  std::int64_t not_finite = 0;  ///< results, and differences to recorded values
  std::int64_t not_finite_results = 0;
  std::size_t first_not_finite_layer = 0;  ///< that computed, where there are any

  static constexpr std::size_t max_listed_ties = 16;
  std::array<NearTie, max_listed_ties> listed_ties{};  ///< the first ones

  std::span<const NearTie> ties() const;

  double rms() const;

  /// max_abs_err, and the RMS of the errors, over rms; 0 where there is no error.
  double relative_err() const;
  double relative_rms_err() const;

  /// Everything finite, no other experts but for near ties, and all errors within the tolerance.
  bool within(const ReferenceTolerance& tolerance) const;

  void add(const ReferenceResult& other);
  void add_not_finite(std::size_t layer, std::int64_t num_results);
  void add_tie(const NearTie& tie);
};

/// Compares what one step of one layer computed with layers.N.output [T, hidden], .topk_ids [T, k] and
/// .topk_weights [T, k] of the input file, as far as they are there.
class ReferenceCheck {
 public:
  /// Throws InvalidInput when a recorded tensor has another shape than the results will have. Borrows `file`;
  /// null means that there is nothing to compare with.
  ReferenceCheck(const SafetensorsFile* file, const std::vector<std::size_t>& layers, std::size_t hidden,
                 std::size_t top_k);

  /// Local. `y` and `routing` are of the tokens in `range`. Where the routing does not tell what experts were
  /// selected by, no choice is a near tie. Throws InvalidInput when the file can no longer be read.
  void compare(std::size_t layer, TokenRange range, const Routing& routing, std::span<const float> y);

  /// On this rank.
  const ReferenceResult& own() const { return result_; }

  /// Collective: the result over all ranks.
  ReferenceResult total(Communicator& communicator) const;

 private:
  const TensorInfo* find(std::size_t layer, const char* what) const;
  void check_shape(std::size_t layer, const char* what, std::size_t width) const;
  std::vector<float> read_row(std::size_t layer, const char* what, std::size_t token,
                              std::size_t width) const;
  bool compare_ids(std::size_t layer, std::size_t token, const Routing& row);
  void compare_weights(std::size_t layer, std::size_t token, const Routing& row);
  void compare_outputs(std::size_t layer, std::size_t token, std::span<const float> y);

  const SafetensorsFile* file_;
  std::size_t hidden_;
  std::size_t top_k_;
  ReferenceResult result_;
};

}  // namespace moewe
