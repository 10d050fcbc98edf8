#include "runtime/canaries.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

/// No two neighbouring bytes are alike, and none is one that a row is likely to be full of.
constexpr std::array<std::byte, Canaries::bytes> known = [] {
  std::array<std::byte, Canaries::bytes> canary{};
  for (std::size_t i = 0; i < canary.size(); ++i) canary[i] = static_cast<std::byte>(0xa5U ^ 7U * i);
  return canary;
}();

}  // namespace

void Canaries::plant(std::byte* segment, std::uint64_t offset, std::string_view region) {
  std::copy(known.begin(), known.end(), segment + offset);
  planted_.push_back({offset, region});
}

void Canaries::check(const std::byte* segment, Rank owner, std::uint64_t generation) const {
  for (const auto& [offset, region] : planted_) {
    if (std::equal(known.begin(), known.end(), segment + offset)) continue;
    throw Error(
        ErrorKind::verification,
        fmt::format("audit of round {}: something was written behind the {} in the segment of rank {}",
                    generation, region, number(owner)));
  }
}

}  // namespace moewe
