#include "runtime/agree.hpp"

#include <array>
#include <fmt/format.h>
#include <string>

#include "comm/error.hpp"
#include "comm/together.hpp"

namespace moewe {
namespace {

using FieldValues = std::array<std::int64_t, step_header_fields.size()>;

FieldValues values_of(const StepHeader& header) {
  FieldValues values{};
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = header.*step_header_fields[i].value;
  return values;
}

/// "4 on rank 0, 2 on ranks 1 3": everybody's value of one field, ranks with equal values together.
std::string list_values(const std::vector<std::int64_t>& values) {
  std::string list;
  std::vector<bool> listed(values.size(), false);
  for (std::size_t first = 0; first < values.size(); ++first) {
    if (listed[first]) continue;
    std::string ranks;
    for (std::size_t rank = first; rank < values.size(); ++rank) {
      if (values[rank] != values[first]) continue;
      listed[rank] = true;
      ranks += fmt::format(" {}", rank);
    }
    list += fmt::format("{}{} on rank{}", list.empty() ? "" : ", ", values[first], ranks);
  }
  return list;
}

[[noreturn]] void throw_disagreement(Communicator& communicator, std::size_t field, std::int64_t mine) {
  const std::vector<std::int64_t> all = all_gather_values(communicator, mine);
  throw Error(
      ErrorKind::disagreement,
      fmt::format("ranks disagree about the {}: {}", step_header_fields[field].name, list_values(all)),
      ErrorScope::shared);
}

}  // namespace

Agreement agree(Communicator& communicator, const StepProposal& proposal) {
  // Own counts, then room up to the common length, then the number of ranks that failed.
  std::vector<std::int64_t> sums(proposal.counts_length + 1, 0);
  const auto& counts = proposal.assignments_per_expert;
  std::copy(counts.begin(), counts.end(), sums.begin());
  sums.back() = proposal.failure ? 1 : 0;
  const FieldValues mine = values_of(proposal.header);
  FieldValues lowest = mine;
  FieldValues highest = mine;
  communicator.all_reduce({.sums = sums, .minima = lowest, .maxima = highest});

  if (sums.back() > 0) throw_together(communicator, proposal.failure);
  for (std::size_t field = 0; field < mine.size(); ++field) {
    if (lowest[field] != highest[field]) throw_disagreement(communicator, field, mine[field]);
  }
  sums.resize(static_cast<std::size_t>(proposal.header.num_experts));
  return {std::move(sums)};
}

std::vector<std::int64_t> assignments_per_slot(const Agreement& agreement, const Placement& placement,
                                               Rank rank) {
  std::vector<std::int64_t> per_slot;
  for (const ExpertId expert : placement.experts_of(rank)) {
    per_slot.push_back(agreement.assignments_per_expert[index(expert)]);
  }
  return per_slot;
}

}  // namespace moewe
