#include "runtime/kernels/checksum_rows.hpp"

#include <array>

#include "runtime/kernels/row_seed.hpp"

namespace moewe {
namespace {

using namespace xxh3;
using Lanes = std::array<std::uint64_t, num_lanes>;

void add_stripe(Lanes& lanes, const std::byte* stripe, const Secret& secret, std::size_t secret_byte) {
  for (unsigned int i = 0; i < num_lanes; ++i)
    lanes[i] +=
        lane_sum(read64(stripe + 8 * i), read64(stripe + 8 * (i ^ 1U)), secret.at(secret_byte + 8 * i));
}

std::uint64_t merged(const Lanes& lanes, std::size_t length, const Secret& secret) {
  std::uint64_t sum = length * prime64_1;
  for (unsigned int i = 0; i < num_lanes; i += 2)
    sum += folded_product(lanes[i] ^ secret.at(merge_secret + 8 * i),
                          lanes[i + 1] ^ secret.at(merge_secret + 8 * i + 8));
  return avalanche(sum);
}

std::uint64_t hash_long(const std::byte* row, std::size_t length, std::uint64_t seed) {
  const Secret secret(seed);
  Lanes lanes;
  for (unsigned int i = 0; i < num_lanes; ++i) lanes[i] = first_of_lane(i);
  const std::size_t num_stripes = (length - 1) / stripe_bytes;
  for (std::size_t s = 0; s < num_stripes; ++s) {
    add_stripe(lanes, row + s * stripe_bytes, secret, s % stripes_per_block * 8);
    if ((s + 1) % stripes_per_block != 0) continue;
    for (unsigned int i = 0; i < num_lanes; ++i)
      lanes[i] = scrambled(lanes[i], secret.at(scramble_secret + 8 * i));
  }
  add_stripe(lanes, row + length - stripe_bytes, secret, last_stripe_secret);
  return merged(lanes, length, secret);
}

void checksum_on_host(const ChecksumRows& work) {
  for (std::size_t i = 0; i < work.num_rows; ++i) {
    if (work.rows[i] == nullptr) continue;
    const std::uint64_t seed = seed_of_row(work, i);
    work.checksums[i] = work.row_bytes <= most_short ? hash_short(work.rows[i], work.row_bytes, seed)
                                                     : hash_long(work.rows[i], work.row_bytes, seed);
  }
}

}  // namespace

const Kernel<ChecksumRows> checksum_rows{"checksum_rows", checksum_on_host,
                                         MOEWE_ON_GPU(launch_checksum_rows)};

}  // namespace moewe
