#include "runtime/kernels/arrange_rows.hpp"

#include <cstring>

#include "runtime/kernels/arranged_row.hpp"

namespace moewe {
namespace {

void arrange_on_host(const ArrangeRows& work) {
  std::uint32_t place = 0;
  for (std::uint32_t slot = 0; slot < work.num_slots; ++slot) {
    work.first_place[slot] = bounded_place(work, place);
    place += work.arrangement.room_for(rows_of_slot(work, slot));
    work.counts[slot] = count_in_room(work, slot, work.first_place[slot]);
  }
  work.first_place[work.num_slots] = bounded_place(work, place);
  for (std::uint32_t slot = 0; slot < work.num_slots; ++slot) {
    for (std::uint32_t to = work.first_place[slot]; to < work.first_place[slot + 1]; ++to) {
      const std::byte* const from = row_at(work, slot, to);
      std::byte* const there = work.rows + to * work.row_bytes;
      if (from != nullptr) {
        std::memcpy(there, from, work.row_bytes);
      } else {
        std::memset(there, 0, work.row_bytes);
      }
    }
  }
}

void return_on_host(const ReturnRows& work) {
  for (std::uint32_t slot = 0; slot < work.num_slots; ++slot) {
    for (std::uint32_t i = 0; i < work.counts[slot]; ++i) {
      std::memcpy(work.outputs[work.first_row[slot] + i],
                  work.results + std::size_t{work.first_place[slot] + i} * work.row_bytes, work.row_bytes);
    }
  }
}

}  // namespace

const Kernel<ArrangeRows> arrange_rows{"arrange_rows", arrange_on_host, MOEWE_ON_GPU(launch_arrange_rows)};
const Kernel<ReturnRows> return_rows{"return_rows", return_on_host, MOEWE_ON_GPU(launch_return_rows)};

}  // namespace moewe
