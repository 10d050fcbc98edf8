#include "runtime/kernels/arrange_sources.hpp"
#include "runtime/kernels/arranged_source.hpp"
#include "runtime/kernels/copy_row.cuh"
#include "runtime/kernels/launch.cuh"

namespace moewe {
namespace {

using namespace copy_row;

__global__ void make_rooms(ArrangeSources work) {
  if (threadIdx.x == 0) make_source_rooms(work);
}

/// One place per block in x, a piece of its row in y; the first says what the row is for.
__global__ void fill_places(ArrangeSources work) {
  const std::uint32_t place = blockIdx.x;
  if (place >= work.first_place[work.num_sources]) return;
  ArrivedRow arrived;
  const bool is_there = find_source_row(work, place, arrived);
  const std::byte* const from = is_there ? arrived.source.from.rows + arrived.row * work.row_bytes : nullptr;
  copy_piece(from, work.rows + place * work.row_bytes, work.row_bytes, blockIdx.y);
  if (blockIdx.y > 0) return;
  for (std::uint32_t k = threadIdx.x; k < work.top_k; k += threads) {
    const std::int32_t slot = write_choice(work, place, is_there ? &arrived : nullptr, k);
    if (slot >= 0) atomicAdd(work.computed + slot, 1U);
  }
}

/// One place per block in x, a piece of its result in y.
__global__ void give_back(ReturnSources work) {
  const std::uint32_t place = blockIdx.x;
  if (place >= work.first_place[work.num_sources]) return;
  std::byte* const to = destination_of(work, place);
  if (to != nullptr) copy_piece(work.results + place * work.row_bytes, to, work.row_bytes, blockIdx.y);
}

}  // namespace

int launch_arrange_sources(const ArrangeSources& work, StreamHandle stream) {
  const int code = start(make_rooms, 1, 32, 0, stream, work);
  if (code != cudaSuccess || work.max_places == 0 || work.row_bytes == 0) return code;
  return start(fill_places, dim3(work.max_places, num_pieces(work.row_bytes)), threads, 0, stream, work);
}

int launch_return_sources(const ReturnSources& work, StreamHandle stream) {
  if (work.max_places == 0 || work.row_bytes == 0) return cudaSuccess;
  return start(give_back, dim3(work.max_places, num_pieces(work.row_bytes)), threads, 0, stream, work);
}

}  // namespace moewe
