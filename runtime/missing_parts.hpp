#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "comm/rank.hpp"
#include "runtime/planned_assignment.hpp"
#include "runtime/round_audit.hpp"

namespace moewe {

/// What travels, or should, between two ranks.
struct PartName {
  Direction direction;
  Rank from;
  Rank to;
  std::string what;  ///< such as "the rows of tokens 3 5 6"
};

/// "dispatch from rank 1 to rank 2: the rows of tokens 3 5 6", or "return from rank 2 to rank 1: ...".
std::string describe(const PartName& part);

/// "tokens 3 5 6", each once, in order, or how many and from which to which where they are many.
std::string name_tokens(std::span<const PlannedAssignment> assignments);

/// What one rank lacks of a round, for the error of a wait that is over. Local.
class MissingParts {
 public:
  void add(const PartName& part) { texts_.push_back(describe(part)); }

  /// One of these ranks owes it, or several of them; none where there are no ranks.
  void add_of_one(Direction direction, std::span<const Rank> from, Rank to, std::string_view what);

  bool is_empty() const { return texts_.empty(); }

  /// All parts, separated by semicolons.
  std::string text() const;

 private:
  std::vector<std::string> texts_;
};

}  // namespace moewe
