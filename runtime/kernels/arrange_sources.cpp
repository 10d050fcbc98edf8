#include "runtime/kernels/arrange_sources.hpp"

#include <cstring>

#include "runtime/kernels/arranged_source.hpp"

namespace moewe {
namespace {

void arrange_on_host(const ArrangeSources& work) {
  make_source_rooms(work);
  for (std::uint32_t place = 0; place < work.first_place[work.num_sources]; ++place) {
    ArrivedRow arrived{};
    const bool is_there = find_source_row(work, place, arrived);
    std::byte* const to = work.rows + place * work.row_bytes;
    if (is_there) {
      std::memcpy(to, arrived.source.from.rows + arrived.row * work.row_bytes, work.row_bytes);
    } else {
      std::memset(to, 0, work.row_bytes);
    }
    for (std::uint32_t k = 0; k < work.top_k; ++k) {
      const std::int32_t slot = write_choice(work, place, is_there ? &arrived : nullptr, k);
      if (slot >= 0) ++work.computed[slot];
    }
  }
}

void return_on_host(const ReturnSources& work) {
  for (std::uint32_t place = 0; place < work.first_place[work.num_sources]; ++place) {
    std::byte* const to = destination_of(work, place);
    if (to != nullptr) std::memcpy(to, work.results + place * work.row_bytes, work.row_bytes);
  }
}

}  // namespace

const Kernel<ArrangeSources> arrange_sources{"arrange_sources", arrange_on_host,
                                             MOEWE_ON_GPU(launch_arrange_sources)};
const Kernel<ReturnSources> return_sources{"return_sources", return_on_host,
                                           MOEWE_ON_GPU(launch_return_sources)};

}  // namespace moewe
