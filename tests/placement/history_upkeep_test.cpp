#include "placement/history_upkeep.hpp"

#include <gtest/gtest.h>

#include "comm/error.hpp"
#include "placement/split.hpp"

namespace moewe {
namespace {

/// Windows of one layer with two experts, the n-th with n assignments of the first.
LoadHistory history_of(std::int64_t count, HistoryOptions options) {
  LoadHistory history(1, 2, options);
  for (std::int64_t n = 1; n <= count; ++n) history.add({{n, 7}});
  return history;
}

TEST(NewestWindows, AreKeptAndSumsStay) {
  const LoadHistory history = history_of(9, {.num_windows = 8});
  const LoadHistory shorter = with_newest_windows(history, 3);
  EXPECT_EQ(shorter.windows(), (std::deque<LoadTable>{{{7, 7}}, {{8, 7}}, {{9, 7}}}));
  EXPECT_EQ(shorter.total(), history.total());
  EXPECT_EQ(shorter.slow(), history.slow());
  EXPECT_EQ(shorter.num_windows_seen(), 9U);
  EXPECT_EQ(with_newest_windows(history, 8), history);
  EXPECT_EQ(with_newest_windows(history_of(2, {.num_windows = 8}), 4).windows().size(), 2U);
}

TEST(Sources, BeginAtNothingWhereThereWereOthers) {
  const LoadHistory history = with_sources(history_of(2, {}), 3);
  EXPECT_EQ(history.by_source(), std::vector<LoadTable>(3, LoadTable{{0, 0}}));
  EXPECT_EQ(history.total(), (LoadTable{{3, 14}}));
  EXPECT_EQ(with_sources(history, 3), history);
}

/// As many of the newest windows as have room beside the next one, whatever their size.
TEST(RoomFor, OneMoreWindowIsAlwaysThere) {
  for (const std::int64_t size :
       {max_total_load, max_total_load / 2, max_total_load / 3, max_total_load / 4}) {
    for (const std::int64_t next : {std::int64_t{1}, max_total_load / 3, max_total_load}) {
      LoadHistory history(2, 2, {.num_windows = 3, .num_sources = 0});
      for (int n = 0; n < 6; ++n) {
        history = with_room_for(std::move(history), std::vector<LoadTable>{{{size, 0}, {0, 1}}});
        history.add({{size, 0}, {0, 1}});
      }
      const std::vector<LoadTable> more{{{0, next}, {1, 0}}};
      LoadHistory roomy = with_room_for(history, more);
      const auto fitting = static_cast<std::size_t>((max_total_load - next) / size);
      EXPECT_EQ(roomy.windows().size(), std::min<std::size_t>(3, fitting)) << size << " " << next;
      roomy.add(more.front());
      EXPECT_EQ(roomy.windows().back(), more.front());
    }
  }
}

TEST(RoomFor, ChangesNothingWhereThereIsRoom) {
  LoadHistory history = with_sources(history_of(5, {}), 2);
  EXPECT_EQ(with_room_for(history, std::vector<LoadTable>{{{1, 1}}, {{2, 2}}}), history);
  history.add_by_source(std::vector<LoadTable>{{{max_total_load - 100, 0}}, {{0, 0}}});
  const LoadHistory roomy = with_room_for(history, std::vector<LoadTable>{{{100, 1}}, {{2, 2}}});
  EXPECT_TRUE(roomy.windows().empty());
  EXPECT_EQ(roomy.options().num_sources, 2U);
}

TEST(HistoryState, HasNoMoreInItsPartsThanInAll) {
  const auto state = [](std::uint64_t seen, std::int64_t total, std::deque<LoadTable> windows,
                        std::vector<LoadTable> sources) {
    const LoadTable none{{0}};
    return LoadHistory::State{{.num_windows = 2, .num_sources = sources.size()},
                              seen,
                              {{total}},
                              none,
                              none,
                              std::move(windows),
                              std::move(sources)};
  };
  EXPECT_NO_THROW(LoadHistory(state(2, 5, {{{2}}, {{3}}}, {{{1}}, {{4}}})));
  EXPECT_NO_THROW(LoadHistory(state(0, 0, {}, {})));
  EXPECT_THROW(LoadHistory(state(2, 4, {{{2}}, {{3}}}, {})), InvalidInput);
  EXPECT_THROW(LoadHistory(state(1, 5, {{{5}}}, {{{2}}, {{4}}})), InvalidInput);
  EXPECT_THROW(LoadHistory(state(1, 5, {{{5}}}, {{{max_total_load}}, {{max_total_load}}})), InvalidInput);
  EXPECT_THROW(LoadHistory(state(0, 5, {}, {})), InvalidInput);
}

}  // namespace
}  // namespace moewe
