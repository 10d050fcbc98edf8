#include "launch/run_totals.hpp"

#include <array>
#include <cstring>
#include <type_traits>

#include "comm/error.hpp"

namespace moewe {
namespace {

/// What has no length of its own.
struct FixedPart {
  std::uint64_t num_steps;
  std::uint64_t last_step_digest;
  RankSums sums;
  std::uint64_t most_rounds;
  OutputDigest::State digest;
};
static_assert(std::is_trivially_copyable_v<FixedPart>);

constexpr std::array counts_of_overflow{&OverflowReport::assigned,      &OverflowReport::kept,
                                        &OverflowReport::over_capacity, &OverflowReport::no_room,
                                        &OverflowReport::rerouted_from, &OverflowReport::rerouted_to};

/// Goes over the parts of totals in one order, whichever way their bytes go.
template <typename Totals, typename Visit>
void visit_parts(Totals& totals, Visit&& visit) {
  visit(std::span(totals.agreed.first_imbalance));
  for (auto& layer : totals.agreed.overflow) {
    visit(std::span(&layer.capacity, 1));
    for (const auto counts : counts_of_overflow) visit(std::span(layer.*counts));
  }
}

/// Lengths as the shape has them, and zeros where there was nothing yet.
RunTotals shaped(RunTotals totals, const TotalsShape& shape) {
  totals.agreed.first_imbalance.resize(shape.num_layers);
  totals.agreed.overflow.resize(shape.has_overflow ? shape.num_layers : 0);
  for (OverflowReport& layer : totals.agreed.overflow) {
    for (const auto counts : counts_of_overflow) (layer.*counts).resize(shape.num_experts);
  }
  return totals;
}

}  // namespace

void RankSums::add(const RankSums& other) {
  assigned += other.assigned;
  computed += other.computed;
  reference.add(other.reference);
}

std::size_t TotalsShape::num_bytes() const {
  const std::size_t counts = 1 + counts_of_overflow.size() * num_experts;
  const std::size_t values = num_layers * (1 + (has_overflow ? counts : 0));
  return sizeof(FixedPart) + values * sizeof(std::uint64_t);
}

std::vector<std::byte> to_bytes(const RunTotals& totals, const TotalsShape& shape) {
  const FixedPart fixed{totals.num_steps, totals.last_step_digest, totals.sums, totals.agreed.most_rounds,
                        totals.digest};
  std::vector<std::byte> bytes;
  bytes.reserve(shape.num_bytes());
  const auto append = [&](auto values) {
    const auto part = std::as_bytes(values);
    bytes.insert(bytes.end(), part.begin(), part.end());
  };
  append(std::span(&fixed, 1));
  const RunTotals whole = shaped(totals, shape);
  visit_parts(whole, append);
  expects(bytes.size() == shape.num_bytes(), "totals have the bytes of their shape");
  return bytes;
}

RunTotals totals_from(std::span<const std::byte> bytes, const TotalsShape& shape) {
  expects(bytes.size() == shape.num_bytes(), "totals have the bytes of their shape");
  const auto take = [&](auto values) {
    const auto part = std::as_writable_bytes(values);
    if (!part.empty()) std::memcpy(part.data(), bytes.data(), part.size());
    bytes = bytes.subspan(part.size());
  };
  FixedPart fixed{};
  take(std::span(&fixed, 1));
  RunTotals totals = shaped({}, shape);
  totals.num_steps = fixed.num_steps;
  totals.last_step_digest = fixed.last_step_digest;
  totals.sums = fixed.sums;
  totals.agreed.most_rounds = fixed.most_rounds;
  totals.digest = fixed.digest;
  visit_parts(totals, take);
  return totals;
}

}  // namespace moewe
