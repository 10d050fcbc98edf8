#include "runtime/step_report.hpp"

#include <algorithm>
#include <functional>

namespace moewe {
namespace {

template <typename Values>
void add_each(const Values& from, Values& to) {
  std::transform(from.begin(), from.end(), to.begin(), to.begin(), std::plus<>());
}

}  // namespace

void StepReport::add(const StepReport& other) {
  add_each(other.seconds, seconds);
  add_each(other.assignments_per_expert, assignments_per_expert);
  add_each(other.own_per_expert, own_per_expert);
  add_each(other.assignments_per_rank, assignments_per_rank);
  if (epoch == other.epoch) {
    add_each(other.computed_per_slot, computed_per_slot);
  } else {
    computed_per_slot.insert(computed_per_slot.end(), other.computed_per_slot.begin(),
                             other.computed_per_slot.end());
  }
  if (overflow && other.overflow) overflow->add(*other.overflow);
  num_rounds = std::max(num_rounds, other.num_rounds);
}

}  // namespace moewe
