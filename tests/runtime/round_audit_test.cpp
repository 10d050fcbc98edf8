#include "runtime/round_audit.hpp"

#include <gtest/gtest.h>
#include <set>
#include <string>
#include <vector>

#include "comm/error.hpp"

namespace moewe {
namespace {

std::vector<std::byte> some_bytes(std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i * 37);
  return bytes;
}

constexpr RowLabel label{Direction::back, Rank{2}, Rank{5}, 7, 1};

TEST(RoundAudit, EveryBitOfARowMatters) {
  const RoundAudit audit(3, Rank{2});
  std::vector<std::byte> row = some_bytes(300);
  const std::uint64_t written = audit.checksum(label, row);
  EXPECT_NO_THROW(audit.check(label, row, written));
  for (std::size_t bit = 0; bit < 8 * row.size(); ++bit) {
    const auto mask = static_cast<std::byte>(1U << bit % 8);
    row[bit / 8] ^= mask;
    EXPECT_THROW(audit.check(label, row, written), Error) << bit;
    row[bit / 8] ^= mask;
  }
}

TEST(RoundAudit, TheSameBytesOfAnotherRowHaveAnotherChecksum) {
  const std::vector<std::byte> row = some_bytes(64);
  std::set<std::uint64_t> checksums;
  for (const std::uint64_t generation : {1U, 2U}) {
    const RoundAudit audit(generation, Rank{0});
    for (const RowLabel& other : {RowLabel{Direction::back, Rank{2}, Rank{5}, 7, 1},
                                  RowLabel{Direction::back, Rank{2}, Rank{5}, 7, 2},
                                  RowLabel{Direction::back, Rank{2}, Rank{5}, 8, 1},
                                  RowLabel{Direction::back, Rank{3}, Rank{5}, 7, 1},
                                  RowLabel{Direction::dispatch, Rank{2}, Rank{5}, 7, 1}}) {
      checksums.insert(audit.checksum(other, row));
    }
    checksums.insert(audit.checksum(PartLabel{"a", Rank{2}, Rank{5}}, {row}));
    checksums.insert(audit.checksum(PartLabel{"a", Rank{5}, Rank{2}}, {row}));
  }
  EXPECT_EQ(checksums.size(), 14U);
}

TEST(RoundAudit, ARowToSeveralRanksHasOneChecksum) {
  const RoundAudit audit(1, Rank{0});
  const std::vector<std::byte> row = some_bytes(64);
  EXPECT_EQ(audit.checksum({Direction::dispatch, Rank{2}, Rank{5}, 7, 0}, row),
            audit.checksum({Direction::dispatch, Rank{2}, Rank{1}, 7, 3}, row));
}

TEST(RoundAudit, SaysWhichRowItWas) {
  const RoundAudit audit(3, Rank{2});
  try {
    audit.check(label, some_bytes(8), 0);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::verification);
    EXPECT_STREQ(error.what(),
                 "audit of round 3: return from rank 5 to rank 2: the output of token 7, choice 1 is not "
                 "what was written there");
  }
}

}  // namespace
}  // namespace moewe
