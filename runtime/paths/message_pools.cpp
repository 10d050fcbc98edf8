#include "runtime/paths/message_pools.hpp"

#include <array>
#include <fmt/format.h>
#include <string_view>

#include "comm/error.hpp"
#include "runtime/planned_assignment.hpp"

namespace moewe {
namespace {

constexpr std::array<std::string_view, MessagePools::num_kinds> names{
    "message path: packed rows", "message path: returned outputs", "message path: manifests",
    "message path: received rows", "message path: computed outputs"};

/// Of each pool. Assignments stand for rows where it is not known yet how many of them share one.
std::array<std::size_t, MessagePools::num_kinds> bytes_of_pools(const RoundSizes& sizes) {
  const std::size_t sent = sizes.num_assigned_elsewhere;
  const std::size_t expected = sizes.num_expected_from_elsewhere();
  const std::size_t row_bytes = sizes.sealed_row_bytes();
  return {sent * row_bytes, sent * row_bytes, expected * sizeof(PlannedAssignment), expected * row_bytes,
          expected * row_bytes};
}

}  // namespace

MessagePools::MessagePools(MemoryMeter& meter) {
  for (const std::string_view name : names) pools_.push_back({GrowingBuffer(meter, name), {}});
}

void MessagePools::plan(const RoundSizes& sizes, MemoryPlan& memory) {
  const auto bytes = bytes_of_pools(sizes);
  for (std::size_t kind = 0; kind < num_kinds; ++kind) memory.add(names[kind], bytes[kind]);
}

void MessagePools::begin(const RoundSizes& sizes) {
  const auto bytes = bytes_of_pools(sizes);
  for (std::size_t kind = 0; kind < num_kinds; ++kind)
    pools_[kind].rest = pools_[kind].memory.resize<std::byte>(bytes[kind]);
}

void MessagePools::release() {
  for (Pool& pool : pools_) pool.memory.release();
}

std::span<std::byte> MessagePools::take(Kind kind, std::size_t bytes, Rank announced_by) {
  std::span<std::byte>& rest = pools_[kind].rest;
  if (bytes > rest.size()) {
    throw Error(ErrorKind::verification,
                fmt::format("rank {}, after others, announces more assignments than were agreed on",
                            number(announced_by)));
  }
  const std::span<std::byte> taken = rest.first(bytes);
  rest = rest.subspan(bytes);
  return taken;
}

}  // namespace moewe
