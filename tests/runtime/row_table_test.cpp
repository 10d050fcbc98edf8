#include "runtime/row_table.hpp"

#include <array>
#include <gtest/gtest.h>

namespace moewe {
namespace {

constexpr std::size_t row_bytes = 8;

/// Two assignments of a source, one row for slot 0.
struct Pair {
  std::array<PlannedAssignment, 2> assignments{{{0, 0, 0, 0, 1.0F}, {0, 0, 0, 1, 1.0F}}};
  std::array<std::byte, row_bytes> input{};
  std::array<std::byte, 2 * row_bytes> outputs{};

  ArrivedRows arrived() {
    return {Rank{1}, assignments, input.data(), &PlannedAssignment::row, 1, outputs.data()};
  }
  bool holds(const std::byte* place) const {
    return place >= outputs.data() && place < outputs.data() + outputs.size();
  }
};

TEST(RowTable, ComputesApartAsManyOutputsOfATableAsHaveRoomThere) {
  MemoryMeter meter;
  RowTable table(meter);
  const std::array<std::int64_t, 1> expected{6};
  table.reset(expected, {.row_bytes = row_bytes, .num_apart = 3});
  Pair first, second, third;
  table.add(first.arrived());
  table.add(second.arrived());  // has no room with the first
  const auto rows = table.rows(0);
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_FALSE(first.holds(rows[0].output));
  EXPECT_EQ(rows[1].output, rows[0].output + row_bytes);
  EXPECT_EQ(rows[2].output, second.outputs.data());
  EXPECT_EQ(rows[3].output, second.outputs.data() + row_bytes);
  EXPECT_EQ(table.arrived()[0].results, rows[0].output);
  EXPECT_EQ(table.arrived()[0].outputs, first.outputs.data());
  EXPECT_EQ(table.arrived()[1].results, second.outputs.data());

  table.hand_out();  // what was computed apart is summed by now
  table.add(third.arrived());
  EXPECT_EQ(table.rows(0)[0].output, rows[0].output);
}

TEST(RowTable, ComputesInPlaceWithoutRoomApart) {
  MemoryMeter meter;
  RowTable table(meter);
  const std::array<std::int64_t, 1> expected{2};
  table.reset(expected, {.row_bytes = row_bytes});
  Pair pair;
  table.add(pair.arrived());
  EXPECT_EQ(table.rows(0)[0].output, pair.outputs.data());
  EXPECT_EQ(table.arrived()[0].results, pair.outputs.data());
}

}  // namespace
}  // namespace moewe
