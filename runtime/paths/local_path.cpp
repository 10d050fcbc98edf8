#include "runtime/paths/local_path.hpp"

#include <algorithm>

namespace moewe {

OutputRegion LocalPath::lay_out(const RoundSizes& sizes) {
  const std::size_t in_ring = sizes.outputs_in_ring();
  if (in_ring == 0 || in_ring >= sizes.num_assigned_here) return {};
  return {0, in_ring * sizes.sealed_row_bytes()};
}

std::size_t LocalPath::output_bytes(const RoundSizes& sizes) {
  const OutputRegion region = lay_out(sizes);
  return region.ring_bytes > 0 ? region.ring_bytes : sizes.num_assigned_here * sizes.sealed_row_bytes();
}

void LocalPath::plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const {
  memory.add(outputs_name, output_bytes(sizes));
}

void LocalPath::dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) {
  shape_ = shape;
  num_tokens_ = plan.num_tokens();
  x_ = x;
  const RoundSizes sizes = sizes_of(shape, plan, self_);
  const OutputRegion region = lay_out(sizes);
  ring_ = OutputRing(region, sizes.sealed_row_bytes());
  places_ = OutputPlaces(region, sizes.sealed_row_bytes());
  memory_ = outputs_.resize<std::byte>(output_bytes(sizes)).data();
  to_compute_ = FlowChunks(plan.to(self_).assignments, shape.flow.chunk_tokens);
  to_return_ = to_compute_;
  in_hand_ = false;
  num_freed_ = 0;
}

void LocalPath::collect(RowTable& rows) {
  if (in_hand_ || to_compute_.is_done()) return;
  const FlowChunk& chunk = to_compute_.front();
  if (!ring_.has_room(chunk, num_freed_ / std::max<std::size_t>(1, shape_.flow.chunk_tokens))) return;
  rows.add({self_, chunk.assignments, x_.data(), &PlannedAssignment::token, num_tokens_,
            memory_ + ring_.take(chunk)});
  to_compute_.pop();
  in_hand_ = true;
}

std::size_t LocalPath::collect_returned(ReturnTable& returned) {
  const std::size_t computed = to_compute_.front().first_assignment;
  while (!in_hand_ && !to_return_.is_done() && to_return_.front().first_assignment < computed) {
    const FlowChunk& chunk = to_return_.front();
    const std::byte* const outputs = memory_ + places_.next(chunk);
    returned.add({self_, chunk.assignments, outputs, shape_.checksums_behind(outputs, chunk.assignments)},
                 shape_.row_bytes());
    places_.pop(chunk);
    to_return_.pop();
  }
  return to_return_.is_done() ? num_tokens_ : to_return_.front().number * shape_.flow.chunk_tokens;
}

}  // namespace moewe
