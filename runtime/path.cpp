#include "runtime/path.hpp"

namespace moewe {

RoundSizes sizes_of(const RoundShape& shape, const DispatchPlan& plan, Rank self) {
  const std::size_t here = plan.to(self).assignments.size();
  return {.num_tokens = plan.num_tokens(),
          .top_k = plan.top_k(),
          .num_ranks = plan.num_ranks(),
          .num_assigned_here = here,
          .num_assigned_elsewhere = plan.num_assignments() - here,
          .num_expected = shape.num_expected,
          .row_bytes = shape.row_bytes(),
          .are_tokens_shared = shape.tokens_place.has_value(),
          .is_audited = shape.audit.is_on(),
          .combine = shape.combine,
          .flow = shape.flow};
}

}  // namespace moewe
