#include "runtime/missing_parts.hpp"

#include <algorithm>
#include <cstdint>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace moewe {
namespace {

const char* name_of(Direction direction) { return direction == Direction::dispatch ? "dispatch" : "return"; }

}  // namespace

std::string describe(const PartName& part) {
  return fmt::format("{} from rank {} to rank {}: {}", name_of(part.direction), number(part.from),
                     number(part.to), part.what);
}

std::string name_tokens(std::span<const PlannedAssignment> assignments) {
  constexpr std::size_t most_named = 8;
  std::vector<std::uint32_t> tokens;
  for (const PlannedAssignment& assignment : assignments) tokens.push_back(assignment.token);
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  if (tokens.empty()) return "no token";
  if (tokens.size() > most_named)
    return fmt::format("{} tokens from {} to {}", tokens.size(), tokens.front(), tokens.back());
  return fmt::format("token{} {}", tokens.size() == 1 ? "" : "s", fmt::join(tokens, " "));
}

void MissingParts::add_of_one(Direction direction, std::span<const Rank> from, Rank to,
                              std::string_view what) {
  if (from.empty()) return;
  if (from.size() == 1) return add({direction, from.front(), to, std::string(what)});
  std::vector<int> ranks;
  for (const Rank rank : from) ranks.push_back(number(rank));
  texts_.push_back(fmt::format("{} from one of ranks {} to rank {}: {}", name_of(direction),
                               fmt::join(ranks, " "), number(to), what));
}

std::string MissingParts::text() const { return fmt::format("{}", fmt::join(texts_, "; ")); }

}  // namespace moewe
