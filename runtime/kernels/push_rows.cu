#include "runtime/kernels/copy_row.cuh"
#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/push_rows.hpp"
#include "runtime/kernels/rank_of_row.hpp"

namespace moewe {
namespace {

/// One row per block in x, a piece of it in y.
__global__ void push(PushRows work) {
  const std::uint32_t i = blockIdx.x;
  if (i >= work.first_row[work.num_ranks]) return;
  const std::uint32_t rank = rank_of_row(i, work.first_row, work.num_ranks);
  const std::byte* const from = work.x + work.tokens[i] * work.row_bytes;
  std::byte* const to = work.destinations[rank] + (i - work.first_row[rank]) * work.row_bytes;
  copy_row::copy_piece(from, to, work.row_bytes, blockIdx.y);
}

}  // namespace

int launch_push_rows(const PushRows& work, StreamHandle stream) {
  if (work.max_rows == 0 || work.row_bytes == 0) return cudaSuccess;
  const dim3 grid(work.max_rows, copy_row::num_pieces(work.row_bytes));
  return start(push, grid, copy_row::threads, 0, stream, work);
}

}  // namespace moewe
