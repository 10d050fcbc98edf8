#include "comm/nccl/nccl_memory.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>

namespace moewe {
namespace {

/// What a variable of NCCL's says, where it is a number above 0.
std::size_t setting(const char* name, std::size_t otherwise) {
  constexpr long long most = 1LL << 40U;
  const char* const text = std::getenv(name);
  const long long value = text == nullptr ? 0 : std::strtoll(text, nullptr, 10);
  return value > 0 && value <= most ? static_cast<std::size_t>(value) : otherwise;
}

}  // namespace

std::size_t nccl_bytes(const NcclPeers& peers) {
  constexpr std::size_t kibibyte = std::size_t{1} << 10U, granularity = 2048 * kibibyte;
  constexpr std::size_t of_other_protocols = 512 * kibibyte + 4800 * kibibyte;
  constexpr std::size_t num_steps = 16, step_bytes = 128 * kibibyte;
  const std::size_t buffers = setting("NCCL_BUFFSIZE", 4096 * kibibyte) + of_other_protocols;
  const std::size_t received = (buffers + granularity - 1) / granularity * granularity;
  constexpr std::size_t usual_channels = 32, most_channels = 64;
  const std::size_t num_channels =
      std::bit_ceil(std::min(setting("NCCL_MAX_CTAS", usual_channels), most_channels));
  return num_channels *
         (peers.on_node * (received + granularity) + (peers.has_others ? 2 * num_steps * step_bytes : 0));
}

}  // namespace moewe
