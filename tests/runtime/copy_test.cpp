#include "runtime/kernels/copy.hpp"

#include <gtest/gtest.h>
#include <numeric>
#include <vector>

namespace moewe {
namespace {

TEST(Copy, OfAnyLengthAndAlignmentWritesItsRowAndNothingElse) {
  constexpr std::size_t margin = 128;
  std::vector<std::byte> from(2048);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 7 + 1);
  for (const Stores stores : {Stores::cached, Stores::streaming}) {
    for (std::size_t bytes = 0; bytes < 400; ++bytes) {
      for (const std::size_t offset : {0U, 1U, 2U, 4U, 17U, 63U}) {
        std::vector<std::byte> to(2 * margin + 512, std::byte{0});
        copy_row(from.data() + offset * 3, to.data() + margin + offset, bytes, stores);
        finish_stores(stores);
        std::vector<std::byte> expected(to.size(), std::byte{0});
        std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(offset * 3), bytes,
                    expected.begin() + static_cast<std::ptrdiff_t>(margin + offset));
        ASSERT_EQ(to, expected) << bytes << " bytes at " << offset;
      }
    }
  }
}

}  // namespace
}  // namespace moewe
