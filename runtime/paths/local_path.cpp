#include "runtime/paths/local_path.hpp"

namespace moewe {

void LocalPath::dispatch(const StepShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) {
  shape_ = shape;
  here_ = plan.to(self_);
  x_ = x;
  outputs_.reserve(meter_, "local outputs", here_.assignments.size() * shape.output_bytes);
  stage_ = Stage::dispatched;
}

void LocalPath::collect(RowTable& rows) {
  if (stage_ != Stage::dispatched) return;
  std::byte* output = outputs_.data();
  for (const PlannedAssignment& assignment : here_.assignments) {
    const std::byte* input = x_.data() + assignment.token * shape_.row_bytes;
    rows.add(assignment.slot, {input, output, self_, assignment.token, assignment.k});
    output += shape_.output_bytes;
  }
  stage_ = Stage::collected;
}

void LocalPath::give_back() {
  if (stage_ == Stage::collected) stage_ = Stage::given_back;
}

void LocalPath::collect_returned(ReturnTable& returned) {
  if (stage_ != Stage::given_back) return;
  returned.add(here_.assignments, outputs_.data(), shape_.output_bytes);
  stage_ = Stage::returned;
}

}  // namespace moewe
