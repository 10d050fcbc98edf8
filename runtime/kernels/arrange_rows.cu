#include "runtime/kernels/arrange_rows.hpp"
#include "runtime/kernels/arranged_row.hpp"
#include "runtime/kernels/block_scan.cuh"
#include "runtime/kernels/copy_row.cuh"
#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/rank_of_row.hpp"

namespace moewe {
namespace {

using namespace copy_row;

/// One block.
__global__ void make_rooms(ArrangeRows work) {
  std::uint32_t before = 0;
  for (std::uint32_t first = 0; first < work.num_slots; first += threads) {
    const std::uint32_t slot = first + threadIdx.x;
    const std::uint32_t mine =
        slot < work.num_slots ? work.arrangement.room_for(rows_of_slot(work, slot)) : 0;
    std::uint32_t total = 0;
    const std::uint32_t place = bounded_place(work, before + sum_before<threads>(mine, total));
    before += total;
    if (slot >= work.num_slots) continue;
    work.first_place[slot] = place;
    work.counts[slot] = count_in_room(work, slot, place);
  }
  if (threadIdx.x == 0) work.first_place[work.num_slots] = bounded_place(work, before);
}

/// One place per block in x, a piece of its row in y.
__global__ void fill_places(ArrangeRows work) {
  const std::uint32_t place = blockIdx.x;
  if (place >= work.first_place[work.num_slots]) return;
  const std::uint32_t slot = rank_of_row(place, work.first_place, work.num_slots);
  copy_piece(row_at(work, slot, place), work.rows + place * work.row_bytes, work.row_bytes, blockIdx.y);
}

/// One row per block in x, a piece of it in y.
__global__ void give_back(ReturnRows work) {
  const std::uint32_t row = blockIdx.x;
  if (row >= work.first_row[work.num_slots]) return;
  const std::uint32_t slot = rank_of_row(row, work.first_row, work.num_slots);
  const std::uint32_t i = row - work.first_row[slot];
  if (i >= work.counts[slot]) return;
  const std::size_t place = std::size_t{work.first_place[slot]} + i;
  copy_piece(work.results + place * work.row_bytes, work.outputs[row], work.row_bytes, blockIdx.y);
}

}  // namespace

int launch_arrange_rows(const ArrangeRows& work, StreamHandle stream) {
  const int code = start(make_rooms, 1, threads, 0, stream, work);
  if (code != cudaSuccess || work.max_places == 0 || work.row_bytes == 0) return code;
  return start(fill_places, dim3(work.max_places, num_pieces(work.row_bytes)), threads, 0, stream, work);
}

int launch_return_rows(const ReturnRows& work, StreamHandle stream) {
  if (work.max_rows == 0 || work.row_bytes == 0) return cudaSuccess;
  return start(give_back, dim3(work.max_rows, num_pieces(work.row_bytes)), threads, 0, stream, work);
}

}  // namespace moewe
