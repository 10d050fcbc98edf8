#pragma once

#include <numeric>

#include "runtime/kernels/arrange_rows.hpp"
#include "tests/gpu/device_work.hpp"
#include "tests/gpu/random_values.hpp"

namespace moewe::test {

/// Rows of some slots, in any order, that are arranged and returned.
struct ArrangeCase {
  std::vector<std::uint32_t> rows;  ///< of each slot
  std::size_t row_bytes;
  RowArrangement arrangement;
  std::uint32_t max_places;

  std::uint32_t num_rows() const { return std::accumulate(rows.begin(), rows.end(), 0U); }
  std::byte value(std::size_t row, std::size_t column) const {
    return static_cast<std::byte>(1 + (row * 7 + column) % 250);
  }
};

struct ArrangeResult {
  std::vector<std::byte> rows;
  std::vector<std::uint32_t> first_place;
  std::vector<std::uint32_t> counts;
  std::vector<std::byte> returned;
};

inline ArrangeResult run(const ArrangeCase& c, Device& device) {
  DeviceWork work(device);
  const auto num_slots = static_cast<std::uint32_t>(c.rows.size());
  const std::uint32_t num_rows = c.num_rows();
  std::vector<std::byte> values;
  for (std::size_t row = 0; row < num_rows; ++row) {
    for (std::size_t column = 0; column < c.row_bytes; ++column) values.push_back(c.value(row, column));
  }
  std::byte* const there = work.put(values);
  std::byte* const back = work.room<std::byte>(values.size());
  std::vector<const std::byte*> inputs;
  std::vector<std::byte*> outputs;
  std::vector<std::uint32_t> first_row{0};
  for (std::size_t row = 0; row < num_rows; ++row) {
    inputs.push_back(there + row * c.row_bytes);
    outputs.push_back(back + (num_rows - 1 - row) * c.row_bytes);
  }
  for (const std::uint32_t rows : c.rows) first_row.push_back(first_row.back() + rows);
  const std::uint32_t* const first = work.put(first_row);
  const ArrangeRows arrange{work.put(inputs),
                            first,
                            work.room<std::byte>(c.max_places * c.row_bytes),
                            work.room<std::uint32_t>(num_slots + 1),
                            work.room<std::uint32_t>(num_slots),
                            c.row_bytes,
                            c.arrangement,
                            num_slots,
                            c.max_places};
  work.queue().run(arrange_rows, arrange);
  work.queue().run(return_rows, {arrange.rows, arrange.first_place, arrange.counts, first, work.put(outputs),
                                 c.row_bytes, num_slots, num_rows + 2});
  return {work.get(arrange.rows, c.max_places * c.row_bytes), work.get(arrange.first_place, num_slots + 1),
          work.get(arrange.counts, num_slots), work.get(back, values.size())};
}

inline std::vector<ArrangeCase> arrange_cases() {
  const std::vector<std::uint32_t> some{3, 0, 5, 8, 1};
  std::vector<std::uint32_t> many(300, 1);
  many[7] = 0;
  many[280] = 4;
  return {{some, 48, {0, 1}, 17}, {some, 21, {0, 8}, 40}, {some, 16400, {8, 1}, 40},
          {many, 6, {0, 2}, 700}, {some, 16, {4, 1}, 20},   // rows that a capacity has no room for
          {some, 32, {0, 8}, 18}, {{0, 0}, 8, {0, 4}, 0}};  // and memory
}

}  // namespace moewe::test
