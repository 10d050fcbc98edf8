#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <vector>

#include "comm/communicator.hpp"
#include "runtime/epoch_state.hpp"
#include "runtime/step_header.hpp"

namespace moewe {

/// What all ranks know alike about one step, or one round of it, once they have agreed.
struct Agreement {
  /// Over all ranks' tokens: assignments per expert of a step, with source counts behind them where these
  /// came along, and per slot of a round.
  std::vector<std::int64_t> counts;

  std::size_t num_tokens = 0;           ///< over all ranks
  std::size_t most_tokens_of_rank = 0;  ///< of the rank with the most

  MigrationWord migration = word_of_no_migration;  ///< the lowest
};

/// What a rank brings to the agreement.
struct StepProposal {
  StepHeader header;

  /// Of the rank's own tokens, as in the agreement; empty if it failed.
  std::vector<std::int64_t> counts;
  std::size_t num_tokens = 0;

  /// Values that are appended to the counts where these travel, beside those up to the common length.
  static constexpr std::size_t num_appended = 2;

  /// Length of the counts that travel: the same on all ranks, whichever layer each of them is in.
  std::size_t counts_length = 0;

  /// How far the layer's migration is on this rank.
  MigrationWord migration = word_of_no_migration;

  /// What kept this rank from taking part, or null.
  std::exception_ptr failure;
};

/// Collective: one small all-reduce. Throws the same shared Error on every rank when a rank failed or when
/// the headers differ; the latter names the field, its values and the ranks.
///
/// Nobody returns before everybody has called. So what a rank wrote for the others in the round before, on
/// the same lane, has been read by then, and may be overwritten.
Agreement agree(Communicator& communicator, StepProposal&& proposal);

}  // namespace moewe
