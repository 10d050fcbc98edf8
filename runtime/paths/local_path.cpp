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
  rows.add({self_, here_.assignments, x_.data(), &PlannedAssignment::token, x_.size() / shape_.row_bytes,
            outputs_.data()});
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
