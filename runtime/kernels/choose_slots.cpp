#include "runtime/kernels/choose_slots.hpp"

#include <vector>

#include "runtime/kernels/portable.hpp"
#include "runtime/kernels/slot_of_order.hpp"
#include "runtime/routing.hpp"

namespace moewe {
namespace {

void choose_on_host(const ChooseSlots& work) {
  std::vector<std::uint32_t> num_dealt(work.num_experts, 0);
  for (std::size_t i = 0; i < work.num_assignments.value(); ++i) {
    const ExpertId expert = work.experts[i];
    const auto e = static_cast<std::uint32_t>(index(expert));
    work.slots[i] = expert == no_expert ? no_slot : slot_of(work, e, num_dealt[e]++);
  }
}

}  // namespace

const Kernel<ChooseSlots> choose_slots{"choose_slots", choose_on_host, MOEWE_ON_GPU(launch_choose_slots)};

}  // namespace moewe
