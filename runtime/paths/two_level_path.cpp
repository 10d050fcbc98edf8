#include "runtime/paths/two_level_path.hpp"

namespace moewe {

TwoLevelPath::TwoLevelPath(Rank self, std::vector<Rank> peers, const TwoLevelParts& parts, MemoryMeter& meter,
                           std::size_t chunk_bytes, std::function<void(const MemoryPlan&)> add_planned)
    : self_(self),
      transport_(parts.transport),
      board_(parts.topology.num_ranks(), parts.memory),
      add_planned_(std::move(add_planned)),
      source_(self, parts.topology, peers, parts.transport, meter, chunk_bytes),
      relay_(self, parts.topology, peers, parts.transport,
             two_level::RelaySegment{board_, canaries_,
                                     [this](std::size_t length) {
                                       MemoryPlan memory;
                                       memory.add(segment_name, board_.memory().bytes_for(length));
                                       add_planned_(memory);
                                     }},
             chunk_bytes),
      expert_(self, parts.topology, peers, board_, chunk_bytes) {}

std::size_t TwoLevelPath::outputs_end(const RoundSizes& sizes) const {
  return board_.end(sizes.is_audited) + sizes.num_expected_from_elsewhere() * sizes.sealed_row_bytes();
}

std::size_t TwoLevelPath::roles_end(const RoundSizes& sizes) const {
  return outputs_end(sizes) + (sizes.is_audited ? Canaries::bytes : 0);
}

void TwoLevelPath::plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const {
  source_.plan_memory(sizes, memory);
  memory.add(segment_name, board_.memory().bytes_for(roles_end(sizes) + relay_.most_bytes(sizes)));
}

void TwoLevelPath::dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) {
  const RoundSizes sizes = sizes_of(shape, plan, self_);
  const std::size_t end = outputs_end(sizes);
  generation_ = shape.generation;
  canaries_.clear();
  board_.memory().grow(roles_end(sizes));
  if (shape.audit.is_on()) canaries_.plant(board_.memory().own(), end, "outputs");
  relay_.begin(shape, roles_end(sizes));
  expert_.begin(shape, board_.end(shape.audit.is_on()), end);
  source_.dispatch(shape, plan, x);
}

void TwoLevelPath::progress() {
  transport_.progress();
  relay_.progress();
}

void TwoLevelPath::collect(RowTable& rows) {
  progress();
  expert_.collect(rows);
}

void TwoLevelPath::give_back() {
  expert_.give_back();
  progress();
}

std::size_t TwoLevelPath::collect_returned(ReturnTable& returned) {
  progress();
  return source_.collect_returned(returned);
}

void TwoLevelPath::list_missing(std::size_t num_lacking, MissingParts& missing) const {
  relay_.list_missing(missing);
  expert_.list_missing(num_lacking, missing);
  source_.list_missing(missing);
}

bool TwoLevelPath::is_idle() {
  progress();
  return source_.is_done() && relay_.is_done();
}

}  // namespace moewe
