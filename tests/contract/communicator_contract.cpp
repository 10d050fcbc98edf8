#include <array>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <numeric>

#include "comm/together.hpp"
#include "tests/support/world.hpp"

namespace moewe {
namespace {

/// Both for the world's own communicator and for the one that its backend makes for an engine.
void on_every_rank(const std::function<void(Communicator&, const Backend&)>& work) {
  test::on_every_rank(work);
  test::on_every_rank([&](Communicator& parent, const Backend& backend) {
    MemoryMeter meter;
    const auto communicator = backend.make_engine_communicator(parent, meter);
    work(*communicator, backend);
  });
}

std::int64_t sum_up_to(std::int64_t n) { return n * (n - 1) / 2; }

TEST(CommunicatorContract, ReducesSumsMinimaAndMaximaInOneCall) {
  on_every_rank([](Communicator& communicator, const Backend&) {
    const auto rank = static_cast<std::int64_t>(number(communicator.rank()));
    const auto size = static_cast<std::int64_t>(communicator.size());
    std::array<std::int64_t, 3> sums{rank, 1, -rank};
    std::array<std::int64_t, 2> minima{rank + 5, INT64_MAX};
    std::array<std::int64_t, 2> maxima{-rank, INT64_MIN};
    communicator.all_reduce({.sums = sums, .minima = minima, .maxima = maxima});
    EXPECT_EQ(sums, (std::array<std::int64_t, 3>{sum_up_to(size), size, -sum_up_to(size)}));
    EXPECT_EQ(minima, (std::array<std::int64_t, 2>{5, INT64_MAX}));
    EXPECT_EQ(maxima, (std::array<std::int64_t, 2>{0, INT64_MIN}));
  });
}

TEST(CommunicatorContract, ReducesManyValues) {
  on_every_rank([](Communicator& communicator, const Backend&) {
    std::vector<std::int64_t> sums(5000);
    std::iota(sums.begin(), sums.end(), std::int64_t{0});
    communicator.all_reduce({.sums = sums, .minima = {}, .maxima = {}});
    for (std::size_t i = 0; i < sums.size(); ++i) {
      EXPECT_EQ(sums[i], static_cast<std::int64_t>(i * communicator.size()));
    }
  });
}

TEST(CommunicatorContract, ScansAddTheValuesOfTheRanksBefore) {
  on_every_rank([](Communicator& communicator, const Backend&) {
    const auto rank = static_cast<std::int64_t>(number(communicator.rank()));
    std::vector<std::int64_t> values{rank, 1, -rank};
    communicator.exclusive_scan(values);
    EXPECT_EQ(values, (std::vector<std::int64_t>{sum_up_to(rank), rank, -sum_up_to(rank)}));
    communicator.exclusive_scan({});
  });
}

TEST(CommunicatorContract, BroadcastsFromEveryRoot) {
  on_every_rank([](Communicator& communicator, const Backend&) {
    for (std::size_t root = 0; root < communicator.size(); ++root) {
      std::array<std::int32_t, 3> values{};
      if (communicator.rank() == rank_at(root)) values = {static_cast<std::int32_t>(root), 7, -1};
      communicator.broadcast(std::as_writable_bytes(std::span(values)), rank_at(root));
      EXPECT_EQ(values, (std::array<std::int32_t, 3>{static_cast<std::int32_t>(root), 7, -1}));
    }
    communicator.broadcast({}, Rank{0});
  });
}

TEST(CommunicatorContract, GathersOneValueOfEachRankInOrder) {
  on_every_rank([](Communicator& communicator, const Backend&) {
    const auto all = all_gather_values(communicator, number(communicator.rank()) * 10);
    ASSERT_EQ(all.size(), communicator.size());
    for (std::size_t rank = 0; rank < all.size(); ++rank) EXPECT_EQ(all[rank], static_cast<int>(rank) * 10);
  });
}

TEST(CommunicatorContract, GathersBlocksOfAnyLength) {
  on_every_rank([](Communicator& communicator, const Backend&) {
    const Rank root = rank_at(communicator.size() - 1);
    // rank r contributes r bytes of value r; rank 0 none at all
    const std::vector<std::byte> mine(index(communicator.rank()),
                                      static_cast<std::byte>(number(communicator.rank())));
    std::vector<std::byte> expected;
    for (std::size_t r = 0; r < communicator.size(); ++r)
      expected.insert(expected.end(), r, static_cast<std::byte>(r));
    const std::vector<std::byte> all = communicator.gather(mine, root);
    EXPECT_EQ(all, communicator.rank() == root ? expected : std::vector<std::byte>{});
  });
}

TEST(CommunicatorContract, ChildIsIndependentOfItsParent) {
  on_every_rank([](Communicator& communicator, const Backend&) {
    const auto child = communicator.child();
    EXPECT_EQ(child->rank(), communicator.rank());
    EXPECT_EQ(child->size(), communicator.size());
    child->barrier();
    communicator.barrier();
  });
}

TEST(CommunicatorContract, RanksOfOneMachineShareANode) {
  on_every_rank([](Communicator& communicator, const Backend&) {
    EXPECT_EQ(communicator.topology().num_nodes(), 1U);
    EXPECT_EQ(communicator.topology().node_ranks(communicator.rank()).size(), communicator.size());
  });
}

TEST(CommunicatorContract, WaitsEndAtTheDeadline) {
  on_every_rank([](Communicator& communicator, const Backend&) {
    const Waiter waiter(std::chrono::milliseconds(50));
    try {
      waiter.until([] { return false; }, {"what never comes", Rank{1}});
      ADD_FAILURE() << "the wait ended without an error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::timeout);
      EXPECT_STREQ(error.what(), "waited 0.05 s for what never comes from rank 1");
    }
    communicator.barrier();
  });
}

TEST(Together, ReturnsWhereNobodyFails) {
  on_every_rank([](Communicator& communicator, const Backend&) {
    int runs = 0;
    together(communicator, [&] { ++runs; });
    EXPECT_EQ(runs, 1);
  });
}

TEST(Together, AllThrowTheErrorOfTheLowestFailingRank) {
  on_every_rank([](Communicator& communicator, const Backend&) {
    const int last = static_cast<int>(communicator.size()) - 1;
    const std::string prefix = last == 0 ? "" : "rank " + std::to_string(last) + ": ";
    try {
      together(communicator, [&] {
        if (number(communicator.rank()) == last) throw InvalidInput("no such file");
      });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.what(), prefix + "no such file");
      EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
      EXPECT_EQ(error.scope(), ErrorScope::shared);
    }
    communicator.barrier();  // all are still in step
  });
}

TEST(Together, AnErrorOfAllRanksNamesNone) {
  on_every_rank([](Communicator& communicator, const Backend&) {
    try {
      together(communicator, [] { throw std::bad_alloc(); });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::out_of_memory);
      EXPECT_EQ(std::string(error.what()).find("rank"), std::string::npos);
    }
  });
}

}  // namespace
}  // namespace moewe
