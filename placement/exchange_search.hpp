#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "placement/arrangement.hpp"
#include "placement/load_flow.hpp"

namespace moewe {

/// Lowers the largest rank load after the exact split by exchanging experts that have one slot: from the
/// ranks that prove the present one with ranks below the mean. Of each round's most promising exchanges some
/// are tried exactly.
class ExchangeSearch {
 public:
  ExchangeSearch(Arrangement& arrangement, std::span<const std::int64_t> loads);

  /// Returns the largest load, at most `goal` or where no exchange that is tried helps. The work is bounded
  /// by `most_exchanges` and, in large arrangements, by less.
  std::int64_t run(std::int64_t goal, std::size_t most_exchanges);

 private:
  struct Single {
    std::int64_t load;
    std::uint32_t slot;
  };
  struct Exchange {
    std::int64_t score;  ///< the less the better
    std::uint32_t from;  ///< slot on a rank of the proof
    std::uint32_t to;
    bool operator<(const Exchange& other) const;
  };

  bool improve();
  void list_singles();
  void list_exchanges();
  void consider(const Exchange& exchange);
  void append_singles(std::size_t rank, std::vector<Single>& singles) const;
  void apply(const Exchange& exchange, FlowState& state) const;

  Arrangement& arrangement_;
  std::span<const std::int64_t> loads_;
  LoadFlow flow_;
  FlowState state_;
  FlowState trial_;
  FlowState best_state_;
  std::int64_t mean_ = 0;  // rounded up
  std::int64_t largest_ = 0;
  std::vector<std::uint32_t> hot_;  // ranks that prove largest_
  std::vector<std::uint32_t> best_hot_;
  std::vector<Single> hot_singles_;
  std::vector<Single> cool_singles_;
  std::vector<Exchange> exchanges_;  // the most promising ones
  std::vector<bool> is_hot_;
};

}  // namespace moewe
