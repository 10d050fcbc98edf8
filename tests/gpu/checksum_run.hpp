#pragma once

#include "runtime/kernels/checksum_rows.hpp"
#include "tests/gpu/device_work.hpp"
#include "tests/gpu/random_values.hpp"

namespace moewe::test {

/// Some rows are not there.
struct ChecksumCase {
  ChecksumCase(std::size_t bytes, bool on_way_back, std::size_t before)
      : row_bytes(bytes), is_back(on_way_back), shift(before) {
    Random random(static_cast<unsigned int>(bytes));
    for (std::size_t i = 0; i < num_rows * row_bytes; ++i)
      rows.push_back(static_cast<std::byte>(draw(random, 0, 255)));
    for (std::size_t i = 0; i < num_rows; ++i) {
      tokens.push_back(static_cast<std::uint32_t>(draw(random, 0, 5000)));
      ks.push_back(static_cast<std::uint32_t>(draw(random, 0, 7)));
      is_there.push_back(i != 2);
    }
  }

  static constexpr std::size_t num_rows = 5;
  static constexpr std::uint64_t generation = 123456789;
  static constexpr std::uint32_t source = 3;

  std::size_t row_bytes;
  bool is_back;
  std::size_t shift;  ///< bytes before the first row
  std::vector<std::byte> rows;
  std::vector<std::uint32_t> tokens;
  std::vector<std::uint32_t> ks;
  std::vector<bool> is_there;
};

inline std::vector<std::uint64_t> run(const ChecksumCase& c, Device& device) {
  DeviceWork work(device);
  const std::byte* const rows = work.put(c.rows, c.shift);
  std::vector<const std::byte*> addresses;
  for (std::size_t i = 0; i < c.num_rows; ++i)
    addresses.push_back(c.is_there[i] ? rows + i * c.row_bytes : nullptr);
  const ChecksumRows arguments{work.put(addresses),
                               work.put(c.tokens),
                               c.is_back ? work.put(c.ks) : nullptr,
                               work.room<std::uint64_t>(c.num_rows),
                               c.row_bytes,
                               c.generation,
                               c.is_back ? 1U : 0U,
                               c.source,
                               static_cast<std::uint32_t>(c.num_rows)};
  work.queue().run(checksum_rows, arguments);
  return work.get(arguments.checksums, c.num_rows);
}

/// Every way that rows of some length are hashed, at its ends.
inline std::vector<ChecksumCase> checksum_cases() {
  std::vector<ChecksumCase> cases;
  constexpr std::size_t lengths[] = {0,   1,    2,    3,    4,    8,    9,    16,   17,   32,   33,
                                     64,  65,   96,   97,   128,  129,  144,  160,  239,  240,  241,
                                     256, 1023, 1024, 1025, 1088, 1089, 2048, 2049, 3071, 14336};
  for (const std::size_t bytes : lengths) {
    cases.emplace_back(bytes, false, 0);
    cases.emplace_back(bytes, true, 2);
  }
  return cases;
}

}  // namespace moewe::test
