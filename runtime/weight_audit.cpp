#include "runtime/weight_audit.hpp"

#include <fmt/format.h>
#include <utility>
#include <xxhash.h>

#include "comm/error.hpp"
#include "runtime/parallel.hpp"

namespace moewe {

std::uint64_t checksum_of(std::span<const std::span<const std::byte>> bytes) {
  std::uint64_t checksum = 0;
  for (const std::span<const std::byte> piece : bytes)
    checksum = XXH3_64bits_withSeed(piece.data(), piece.size(), checksum);
  return checksum;
}

void WeightAudit::add(std::string name, std::vector<std::span<const std::byte>> bytes) {
  const std::uint64_t checksum = checksum_of(bytes);
  add(std::move(name), std::move(bytes), checksum);
}

void WeightAudit::add(std::string name, std::vector<std::span<const std::byte>> bytes,
                      std::uint64_t checksum) {
  parts_.push_back({std::move(name), std::move(bytes), checksum});
}

void WeightAudit::check(std::size_t num_threads) const {
  parallel_for(num_threads, parts_.size(), [&](std::size_t i, std::size_t) {
    const Part& part = parts_[i];
    if (checksum_of(part.bytes) == part.checksum) return;
    throw Error(ErrorKind::verification,
                fmt::format("audit: {} are not what they were when they were loaded", part.name));
  });
}

}  // namespace moewe
