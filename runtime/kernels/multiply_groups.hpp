#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/dtype.hpp"

namespace moewe {

class GroupedMatmul;

/// Where groups' matrices [out, in], rows of [in] and results of [out] begin, rows one behind the other.
struct GroupAddresses {
  const std::byte* const* weights;  ///< [num_groups], as those below
  const std::byte* const* inputs;
  std::byte* const* outputs;
};

/// output = W x for groups of rows, each with a matrix of its own, by a library: where the host knows how
/// many rows each group has. Sums are f32 and rounded once to `output_dtype`; what else a row's bits depend
/// on is up to the library, so that a GPU and the twin, which is that of multiply_rows, agree within in *
/// 2^-21 * sum |w x| and that rounding. Groups' results do not overlap, and rows of all kinds are multiples
/// of `group_alignment` bytes, as are the addresses.
///
/// cuBLAS takes all groups in one call where results have the type of rows; f32 of bf16 it takes group by
/// group, since its call for groups returns no other type than it is given.
struct MultiplyGroups {
  static constexpr std::size_t group_alignment = 16;

  GroupedMatmul* library;         ///< null where kernels run on the host
  const std::uint32_t* num_rows;  ///< on the host, [num_groups], none of them 0; used when the kernel runs
  GroupAddresses on_device;       ///< arrays on the device
  GroupAddresses on_host;         ///< the same addresses in arrays on the host
  std::uint32_t num_groups;
  std::uint32_t in;
  std::uint32_t out;
  Dtype dtype;         ///< of rows and matrices
  Dtype output_dtype;  ///< that, or f32
};

extern const Kernel<MultiplyGroups> multiply_groups;

/// A library's grouped matmuls on one GPU. Used by one thread, for one queue at a time; what it holds is let
/// go of once that is idle.
class GroupedMatmul {
 public:
  virtual ~GroupedMatmul() = default;

  /// Enqueues it on a stream of the current device. False where the library did not take it.
  virtual bool enqueue(const MultiplyGroups& work, StreamHandle stream) = 0;

  /// After that: Throws Error(communication) with what the library says, if anything.
  virtual void throw_failure() const = 0;
};

/// Queue::run(multiply_groups, work), with the library's own words where it fails.
void run_groups(Queue& queue, const MultiplyGroups& work);

}  // namespace moewe
