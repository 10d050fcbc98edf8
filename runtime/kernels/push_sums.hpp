#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/dtype.hpp"
#include "runtime/kernels/group_rows.hpp"

namespace moewe {

/// For Combine::fast, the way back: of each row that arrived, one weighted sum of the outputs of its
/// assignments to the source, in f32, in the order of k and rounded once to `dtype`: the bits of sum_rows().
/// How many rows there are is read where the kernel runs.
struct PushSums {
  const ArrivedFrom* sources;  ///< [num_sources]; sums go to their `outputs`, from the plan's first_sum on
  const std::byte* const*
      addresses;  ///< [max_addresses] rows of `dtype`, of group_rows; null: does not count
  std::uint32_t num_sources;
  std::uint32_t hidden;
  std::uint32_t max_rows;       ///< no fewer than arrive
  std::uint32_t max_addresses;  ///< assignments beyond do not count
  Dtype dtype;
};

extern const Kernel<PushSums> push_sums;
int launch_push_sums(const PushSums& work, StreamHandle stream);

}  // namespace moewe
