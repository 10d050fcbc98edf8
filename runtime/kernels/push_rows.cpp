#include "runtime/kernels/push_rows.hpp"

#include <cstring>

#include "runtime/kernels/portable.hpp"

namespace moewe {
namespace {

void push_on_host(const PushRows& work) {
  for (std::uint32_t rank = 0; rank < work.num_ranks; ++rank) {
    std::byte* to = work.destinations[rank];
    for (std::uint32_t i = work.first_row[rank]; i < work.first_row[rank + 1]; ++i, to += work.row_bytes)
      std::memcpy(to, work.x + work.tokens[i] * work.row_bytes, work.row_bytes);
  }
}

}  // namespace

const Kernel<PushRows> push_rows{"push_rows", push_on_host, MOEWE_ON_GPU(launch_push_rows)};

}  // namespace moewe
