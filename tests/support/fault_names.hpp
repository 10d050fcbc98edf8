#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/round_audit.hpp"
#include "tests/support/audited_layer.hpp"

namespace moewe::test {

/// Knows, of the layer of audited_layer.hpp, whose row it is that lies anywhere, by what it holds: so that
/// what an error names is compared with what was struck, and not with how the paths lay out their memory.
class FaultNames {
 public:
  explicit FaultNames(const Way& way);

  /// Whether one of these errors names what was struck: its step, the ranks between which it is, and the row,
  /// or, of what is no row, the part.
  bool are_right(const std::vector<Outcome::Failure>& failures, const Strike& strike) const;

 private:
  using Labels = std::vector<RowLabel>;

  /// What an error says about rows.
  struct Named {
    Direction direction;
    Rank from;
    Rank to;
    Rank source;  ///< of the tokens
    bool is_of_many;
    std::vector<std::uint32_t> tokens;
    std::optional<std::uint32_t> k;
  };

  void add_step(std::size_t step);
  void add(std::size_t step, const RowLabel& label, std::span<const std::byte> row);
  std::vector<std::byte> add_outputs(std::size_t step, Rank source, std::uint32_t token, Rank computed_by);
  void add_sums(std::size_t step, Rank source, std::uint32_t token);
  Labels labels_in(const Strike& strike) const;
  std::vector<Named> named_in(const std::string& text) const;
  bool is_row(const Named& named, const RowLabel& label) const;
  bool is_receiver(Rank rank, const RowLabel& label) const;
  bool names(const std::string& text, const Strike& strike, const Labels& struck) const;

  Way way_;
  std::unordered_map<std::string, Labels> rows_;  // by content
  std::unordered_map<std::uint64_t, Labels> checksums_;
};

}  // namespace moewe::test
