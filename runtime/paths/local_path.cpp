#include "runtime/paths/local_path.hpp"

namespace moewe {

OutputPlace LocalPath::lay_out(const RoundSizes& sizes) {
  const std::size_t in_ring = sizes.flow.ring_chunks * sizes.most_outputs_of_chunk();
  if (in_ring == 0 || in_ring >= sizes.num_assigned_here) return {};
  return {0, sizes.flow.ring_chunks, sizes.most_outputs_of_chunk() * sizes.row_bytes};
}

std::size_t LocalPath::output_bytes(const RoundSizes& sizes) {
  const OutputPlace place = lay_out(sizes);
  return place.ring_chunks > 0 ? place.ring_chunks * place.chunk_bytes
                               : sizes.num_assigned_here * sizes.row_bytes;
}

void LocalPath::plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const {
  memory.add(outputs_name, output_bytes(sizes));
}

void LocalPath::dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) {
  shape_ = shape;
  num_tokens_ = plan.num_tokens();
  x_ = x;
  const RoundSizes sizes = sizes_of(shape, plan, self_);
  place_ = lay_out(sizes);
  memory_ = outputs_.resize<std::byte>(output_bytes(sizes)).data();
  to_compute_ = FlowChunks(plan.to(self_).assignments, shape.flow.chunk_tokens);
  to_return_ = to_compute_;
  in_hand_ = false;
  num_freed_ = 0;
}

bool LocalPath::has_room() const {
  if (place_.ring_chunks == 0) return true;
  return to_compute_.front().number < num_freed_ / shape_.flow.chunk_tokens + place_.ring_chunks;
}

std::byte* LocalPath::outputs_of(const FlowChunk& chunk) const {
  return memory_ + place_.of(chunk, shape_.row_bytes());
}

void LocalPath::collect(RowTable& rows) {
  if (in_hand_ || to_compute_.is_done() || !has_room()) return;
  const FlowChunk& chunk = to_compute_.front();
  rows.add({self_, chunk.assignments, x_.data(), &PlannedAssignment::token, num_tokens_, outputs_of(chunk)});
  to_compute_.pop();
  in_hand_ = true;
}

std::size_t LocalPath::collect_returned(ReturnTable& returned) {
  const std::size_t computed = to_compute_.front().first_assignment;
  while (!in_hand_ && !to_return_.is_done() && to_return_.front().first_assignment < computed) {
    const FlowChunk& chunk = to_return_.front();
    returned.add(chunk.assignments, outputs_of(chunk), shape_.row_bytes());
    to_return_.pop();
  }
  return to_return_.is_done() ? num_tokens_ : to_return_.front().number * shape_.flow.chunk_tokens;
}

}  // namespace moewe
