#include "runtime/paths/direct_path.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr std::size_t dispatched_flag = 0;
constexpr std::uint64_t region_alignment = 64;

/// Lays regions out one behind the other; its end is the segment's length.
class Layout {
 public:
  std::uint64_t place(std::size_t bytes) {
    const std::uint64_t at = (end_ + region_alignment - 1) / region_alignment * region_alignment;
    end_ = at + bytes;
    return at;
  }
  std::uint64_t end() const { return end_; }

 private:
  std::uint64_t end_ = 0;
};

/// Removes and visits the ranks for which `is_ready` holds.
template <typename IsReady, typename Visit>
void take_ready(std::vector<Rank>& ranks, IsReady&& is_ready, Visit&& visit) {
  const auto first_ready =
      std::stable_partition(ranks.begin(), ranks.end(), [&](Rank rank) { return !is_ready(rank); });
  std::for_each(first_ready, ranks.end(), visit);
  ranks.erase(first_ready, ranks.end());
}

}  // namespace

DirectPath::DirectPath(Rank self, std::vector<Rank> peers, std::size_t num_ranks, PeerMemory& memory)
    : self_(self),
      peers_(std::move(peers)),
      num_ranks_(num_ranks),
      places_(num_ranks * sizeof(Letter)),
      memory_(memory) {
  expects(memory_.num_flags() >= flags_needed(num_ranks), "the direct path has a flag per rank and one more");
}

DirectPath::Regions DirectPath::lay_out(const RoundSizes& sizes) const {
  Layout layout;
  layout.place(num_ranks_ * (sizeof(Letter) + sizeof(Place)));
  Regions regions{};
  regions.manifests = layout.place(sizes.num_assigned_elsewhere * sizeof(PlannedAssignment));
  regions.rows = layout.place(sizes.num_tokens * sizes.row_bytes);
  regions.outputs = layout.place(sizes.num_expected_from_elsewhere() * sizes.row_bytes);
  regions.end = layout.end();
  return regions;
}

void DirectPath::plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const {
  memory.add(PeerMemory::meter_name, memory_.bytes_for(lay_out(sizes).end));
}

void DirectPath::dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) {
  shape_ = shape;
  plan_ = &plan;
  const Regions regions = lay_out(sizes_of(shape, plan, self_));
  next_output_ = regions.outputs;
  outputs_end_ = regions.end;
  memory_.grow(regions.end);

  copy_needed_rows(plan, x, memory_.own() + regions.rows);
  write_letters(plan, regions.manifests, regions.rows);
  awaited_ = peers_;
  collected_.clear();
  awaited_returns_.clear();
  for (const Rank peer : peers_) {
    if (!plan.to(peer).assignments.empty()) awaited_returns_.push_back(peer);
  }
  memory_.publish(dispatched_flag, shape.generation);
}

void DirectPath::copy_needed_rows(const DispatchPlan& plan, std::span<const std::byte> x, std::byte* rows) {
  is_needed_.assign(plan.num_tokens(), 0);
  for (const Rank peer : peers_) {
    for (const std::uint32_t token : plan.to(peer).tokens) is_needed_[token] = 1;
  }
  for (std::size_t token = 0; token < is_needed_.size(); ++token) {
    if (is_needed_[token] == 0) continue;
    const std::size_t offset = token * shape_.row_bytes();
    std::memcpy(rows + offset, x.data() + offset, shape_.row_bytes());
  }
}

void DirectPath::write_letters(const DispatchPlan& plan, std::uint64_t manifests, std::uint64_t rows) {
  for (const Rank peer : peers_) {
    const auto assignments = std::as_bytes(plan.to(peer).assignments);
    std::copy(assignments.begin(), assignments.end(), memory_.own() + manifests);
    letter_to(peer) = {shape_.generation, manifests, plan.to(peer).assignments.size(), rows,
                       plan.num_tokens()};
    manifests += assignments.size();
  }
}

void DirectPath::collect(RowTable& rows) {
  take_ready(
      awaited_, [&](Rank peer) { return has_published(peer, dispatched_flag); },
      [&](Rank peer) { collect_from(peer, rows); });
}

void DirectPath::collect_from(Rank peer, RowTable& rows) {
  const Letter letter = letter_from(peer);
  const std::uint64_t outputs = next_output_;
  next_output_ += letter.num_assignments * shape_.row_bytes();
  if (letter.generation != shape_.generation || next_output_ > outputs_end_) {
    throw Error(
        ErrorKind::verification,
        fmt::format("rank {} announces {} assignments of round {} in round {}, which expects {} in all",
                    number(peer), letter.num_assignments, letter.generation, shape_.generation,
                    shape_.num_expected));
  }
  if (letter.num_assignments == 0) return;
  place_for(peer) = outputs;
  const std::byte* segment = memory_.of(peer);
  const auto* manifest = reinterpret_cast<const PlannedAssignment*>(segment + letter.manifest);
  rows.add({peer,
            {manifest, letter.num_assignments},
            segment + letter.rows,
            &PlannedAssignment::token,
            letter.num_rows,
            memory_.own() + outputs});
  collected_.push_back(peer);
}

void DirectPath::give_back() {
  for (const Rank peer : collected_) memory_.publish(returned_flag(peer), shape_.generation);
  collected_.clear();
}

void DirectPath::collect_returned(ReturnTable& returned) {
  take_ready(
      awaited_returns_, [&](Rank peer) { return has_published(peer, returned_flag(self_)); },
      [&](Rank peer) {
        returned.add(plan_->to(peer).assignments, memory_.of(peer) + place_from(peer), shape_.row_bytes());
      });
}

DirectPath::Letter& DirectPath::letter_to(Rank peer) {
  return reinterpret_cast<Letter*>(memory_.own())[index(peer)];
}

const DirectPath::Letter& DirectPath::letter_from(Rank peer) const {
  return reinterpret_cast<const Letter*>(memory_.of(peer))[index(self_)];
}

DirectPath::Place& DirectPath::place_for(Rank peer) {
  return reinterpret_cast<Place*>(memory_.own() + places_)[index(peer)];
}

DirectPath::Place DirectPath::place_from(Rank peer) const {
  return reinterpret_cast<const Place*>(memory_.of(peer) + places_)[index(self_)];
}

bool DirectPath::has_published(Rank peer, std::size_t flag) const {
  return memory_.published(peer, flag) == shape_.generation;
}

}  // namespace moewe
