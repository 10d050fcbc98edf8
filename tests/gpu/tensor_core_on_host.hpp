#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/gpu/kernels_on_host.hpp"

// What tensor_core.cuh has, for bodies of kernels on the host. Sums are made in the order of the products, as
// the twins make them, which matrix units do not promise.

namespace moewe {
namespace test {

/// Copies of each thread that were begun: as late as they may be, they are made when waited for.
class LateCopies {
 public:
  void begin(std::byte* to, const std::byte* from, unsigned int bytes) {
    open().push_back({to, from, bytes});
  }
  void close() { groups().emplace_back(); }

  void wait(unsigned int count) {
    auto& mine = groups();
    while (mine.size() > count + 1) {
      for (const Copy& copy : mine.front()) copy.make();
      mine.erase(mine.begin());
    }
  }

  static LateCopies& get() {
    static LateCopies copies;
    return copies;
  }

 private:
  struct Copy {
    std::byte* to;
    const std::byte* from;
    unsigned int bytes;

    void make() const {
      std::memset(to, 0, 16);
      if (bytes > 0) std::memcpy(to, from, bytes);
    }
  };
  using Groups = std::vector<std::vector<Copy>>;  // the last is open

  Groups& groups() {
    Groups& mine = groups_[Block::get().current()];
    if (mine.empty()) mine.emplace_back();
    return mine;
  }
  std::vector<Copy>& open() { return groups().back(); }

  std::array<Groups, 1024> groups_;
};

inline float low_bf16(std::uint32_t pair) { return std::bit_cast<float>(pair << 16U); }
inline float high_bf16(std::uint32_t pair) { return std::bit_cast<float>(pair & 0xFFFF0000U); }

}  // namespace test

inline void copy_to_shared(std::byte* to, const std::byte* from, unsigned int bytes) {
  test::LateCopies::get().begin(to, from, bytes);
}
inline void close_copy_group() { test::LateCopies::get().close(); }

template <unsigned int count>
void wait_for_copies() {
  test::LateCopies::get().wait(count);
}

inline void load_matrices(const std::byte* row, std::uint32_t (&matrices)[4]) {
  const unsigned int lane = threadIdx.x % test::Block::lanes;
  const std::byte* const* const rows = test::Block::get().show(row);
  for (unsigned int m = 0; m < 4; ++m)
    std::memcpy(&matrices[m], rows[8 * m + lane / 4] + lane % 4 * sizeof(std::uint32_t),
                sizeof(std::uint32_t));
  __syncwarp();
}

inline void multiply_add(float (&sums)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  using Fragments = std::array<std::uint32_t, 6>;
  const auto& all = test::Block::get().show(Fragments{a[0], a[1], a[2], a[3], b[0], b[1]});
  const unsigned int lane = threadIdx.x % test::Block::lanes;
  for (unsigned int e = 0; e < 4; ++e) {
    const unsigned int row = lane / 4;
    const unsigned int column = lane % 4 * 2 + e % 2;
    for (unsigned int k = 0; k < 16; k += 2) {
      const std::uint32_t x = all[row * 4 + k % 8 / 2][k / 8 * 2 + e / 2];
      const std::uint32_t w = all[column * 4 + k % 8 / 2][4 + k / 8];
      sums[e] = std::fma(test::low_bf16(x), test::low_bf16(w), sums[e]);
      sums[e] = std::fma(test::high_bf16(x), test::high_bf16(w), sums[e]);
    }
  }
  __syncwarp();
}

}  // namespace moewe
