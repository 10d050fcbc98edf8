#include "runtime/kernels/push_quantised.hpp"

#include "runtime/kernels/portable.hpp"
#include "runtime/kernels/rank_of_row.hpp"

namespace moewe {
namespace {

void push_on_host(const PushQuantised& work) {
  const std::size_t row_bytes = quantised_row_bytes(work.hidden);
  for (std::uint32_t i = 0; i < work.first_row[work.num_ranks]; ++i) {
    const std::uint32_t rank = rank_of_row(i, work.first_row, work.num_ranks);
    std::byte* const to = work.destinations[rank] + (i - work.first_row[rank]) * row_bytes;
    quantise_rows.on_host({work.x + std::size_t{work.tokens[i]} * work.hidden * bytes_of(work.dtype),
                           reinterpret_cast<E4m3*>(to), reinterpret_cast<float*>(to + scales_at(work.hidden)),
                           1, work.hidden, work.dtype});
  }
}

}  // namespace

const Kernel<PushQuantised> push_quantised{"push_quantised", push_on_host,
                                           MOEWE_ON_GPU(launch_push_quantised)};

}  // namespace moewe
