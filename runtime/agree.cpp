#include "runtime/agree.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <functional>
#include <string>
#include <utility>

#include "comm/error.hpp"
#include "comm/together.hpp"

namespace moewe {
namespace {

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

/// Collective: everybody's headers, to find the first field in which they differ.
[[noreturn]] void throw_disagreement(Communicator& communicator, const StepHeader& header) {
  constexpr std::size_t max_fields = StepHeader::max_fields;
  std::vector<std::int64_t> mine(max_fields, 0);  // headers of different operations have different lengths
  for (std::size_t i = 0; i < header.fields().size(); ++i) mine[i] = header.fields()[i].value;
  std::vector<std::int64_t> all(max_fields * communicator.size());
  communicator.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
  for (std::size_t field = 0; field < header.fields().size(); ++field) {
    std::vector<std::int64_t> values;
    for (std::size_t rank = 0; rank < communicator.size(); ++rank) {
      values.push_back(all[rank * max_fields + field]);
    }
    if (std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end()) continue;
    throw Error(
        ErrorKind::disagreement,
        fmt::format("ranks disagree about the {}: {}", header.fields()[field].name, list_values(values)),
        ErrorScope::shared);
  }
  throw Error(ErrorKind::internal, "headers differ in their digest alone", ErrorScope::shared);
}

}  // namespace

Agreement agree(Communicator& communicator, StepProposal&& proposal) {
  // Own counts, then room up to the common length, then the numbers of tokens and of ranks that failed.
  std::vector<std::int64_t> sums = std::move(proposal.counts);
  const std::size_t num_counts = sums.size();
  sums.resize(proposal.counts_length + StepProposal::num_appended, 0);
  sums[proposal.counts_length] = static_cast<std::int64_t>(proposal.num_tokens);
  sums.back() = proposal.failure ? 1 : 0;
  std::array<std::int64_t, 2> lowest{proposal.header.digest(), proposal.migration};
  std::array<std::int64_t, 2> highest{lowest[0], static_cast<std::int64_t>(proposal.num_tokens)};
  communicator.all_reduce({.sums = sums, .minima = lowest, .maxima = highest});

  if (sums.back() > 0) throw_together(communicator, proposal.failure);
  if (lowest[0] != highest[0]) throw_disagreement(communicator, proposal.header);
  Agreement agreement;
  agreement.num_tokens = static_cast<std::size_t>(sums[proposal.counts_length]);
  agreement.most_tokens_of_rank = static_cast<std::size_t>(highest[1]);
  agreement.migration = lowest[1];
  sums.resize(num_counts);
  agreement.counts = std::move(sums);
  return agreement;
}

}  // namespace moewe
