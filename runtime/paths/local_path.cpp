#include "runtime/paths/local_path.hpp"

namespace moewe {

void LocalPath::dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) {
  shape_ = shape;
  here_ = plan.to(self_);
  x_ = x;
  first_output_ = outputs_.resize<std::byte>(here_.assignments.size() * shape.row_bytes()).data();
  stage_ = Stage::dispatched;
}

void LocalPath::collect(RowTable& rows) {
  if (stage_ != Stage::dispatched) return;
  rows.add({self_, here_.assignments, x_.data(), &PlannedAssignment::token, x_.size() / shape_.row_bytes(),
            first_output_});
  stage_ = Stage::collected;
}

void LocalPath::give_back() {
  if (stage_ == Stage::collected) stage_ = Stage::given_back;
}

void LocalPath::collect_returned(ReturnTable& returned) {
  if (stage_ != Stage::given_back) return;
  returned.add(here_.assignments, first_output_, shape_.row_bytes());
  stage_ = Stage::returned;
}

}  // namespace moewe
