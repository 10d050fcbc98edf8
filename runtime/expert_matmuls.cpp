#include "runtime/expert_matmuls.hpp"

#include <fmt/format.h>

#include "runtime/kernels/cublas/cublas_matmul.hpp"
#include "runtime/kernels/multiply_rows.hpp"

namespace moewe {
namespace {

bool is_aligned(const LayerSpec& spec, Dtype dtype) {
  constexpr std::size_t alignment = MultiplyGroups::group_alignment;
  return spec.expert.hidden * bytes_of(dtype) % alignment == 0 &&
         spec.expert.intermediate * bytes_of(dtype) % alignment == 0;
}

}  // namespace

ExpertMatmuls choose_expert_matmuls(const Device& device, const LayerSpec& spec, Dtype dtype,
                                    Combine combine) {
  if (combine == Combine::reproducible)
    return {false, "own kernel, whose bits of a row do not depend on other rows"};
  if (!is_aligned(spec, dtype))
    return {false, fmt::format("own kernel: hidden or intermediate rows are not multiples of {} bytes",
                               MultiplyGroups::group_alignment)};
  const std::string when =
      fmt::format("in steps with more than {} rows per expert, else own kernel", MultiplyRows::few_rows);
  if (device.is_emulated()) return {true, "grouped, as by cuBLAS, " + when};
  const std::string reason = reason_for_no_cublas();
  if (!reason.empty()) return {false, "own kernel: " + reason};
  return {true, fmt::format("grouped by cuBLAS {} {}", cublas_version(), when)};
}

bool is_worth_grouping(std::span<const std::int64_t> rows_of_slots) {
  std::int64_t num_rows = 0;
  std::int64_t num_groups = 0;
  for (const std::int64_t rows : rows_of_slots) {
    num_rows += rows;
    num_groups += rows > 0 ? 1 : 0;
  }
  return num_rows > num_groups * std::int64_t{MultiplyRows::few_rows};
}

}  // namespace moewe
