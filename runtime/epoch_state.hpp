#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "comm/error.hpp"

namespace moewe {

/// How far a layer has come on its way from one epoch to the next.
enum class MigrationState {
  idle,       ///< no migration was asked for yet
  copying,    ///< experts are on their way
  ready,      ///< this rank has all of its own
  agreed,     ///< all ranks are ready: the next step switches
  switched,   ///< steps begin under the new epoch
  cancelled,  ///< the old epoch goes on serving
};

/// Whether it is on its way; then no other may begin.
constexpr bool is_under_way(MigrationState state) {
  return state == MigrationState::copying || state == MigrationState::ready ||
         state == MigrationState::agreed;
}

/// What a rank says of a migration in the agreement of a step; the lowest word of all ranks counts.
using MigrationWord = std::int64_t;
inline constexpr MigrationWord word_of_no_migration = std::numeric_limits<MigrationWord>::max();
inline constexpr MigrationWord word_of_failure = -1;

/// One rank's part of the change from one epoch of a layer to the next, as a pure value: events in, decisions
/// out. All decisions but that to fail follow from the lowest words of agreements, which all ranks see alike,
/// so that they change states in the same steps:
///
///   idle -> copying -> ready -> agreed -> switched        begin, advance, agree, begin_step
///              |          |
///              +----------+-> cancelled                   agree, after fail on any rank or without progress
///
/// A migration is `total` pieces of work, the same number on all ranks, which a rank finishes in order; what
/// a rank has no part in is done at once. All ranks begin a migration before the same step.
class EpochState {
 public:
  explicit EpochState(std::uint64_t epoch) : epoch_(epoch), next_(epoch) {}

  /// Of the steps that begin now.
  std::uint64_t epoch() const { return epoch_; }
  std::uint64_t next_epoch() const { return next_; }
  MigrationState state() const { return state_; }
  bool is_under_way() const { return moewe::is_under_way(state_); }
  bool has_failed() const { return has_failed_; }

  /// Pieces that this rank has done, and those that all ranks have.
  std::int64_t done() const { return done_; }
  std::int64_t done_by_all() const { return done_by_all_; }

  /// It is cancelled once so many agreements in a row have seen no progress of the slowest rank.
  void begin(std::uint64_t next, std::int64_t total, std::size_t patience) {
    expects(!is_under_way(), "one migration of a layer at a time");
    *this = EpochState(epoch_);
    state_ = MigrationState::copying;
    next_ = next;
    total_ = total;
    patience_ = patience;
  }

  /// This rank has done the first `done` pieces.
  void advance(std::int64_t done) {
    if (state_ == MigrationState::copying && !has_failed_) done_ = done;
  }

  /// This rank has all it needs under the new epoch, and has made it ready for use.
  void make_ready() {
    if (state_ == MigrationState::copying && !has_failed_) state_ = MigrationState::ready;
  }

  /// Something went wrong on this rank. Too late once all are ready.
  void fail() {
    if (state_ == MigrationState::copying || state_ == MigrationState::ready) has_failed_ = true;
  }

  /// For the agreement of the step that begins now.
  MigrationWord word() const {
    if (!is_under_way()) return word_of_no_migration;
    if (has_failed_) return word_of_failure;
    return state_ == MigrationState::copying ? done_ : total_ + 1;
  }

  /// What the step's agreement said. Returns whether the migration is cancelled by it.
  bool agree(MigrationWord lowest) {
    if (state_ != MigrationState::copying && state_ != MigrationState::ready) return false;
    if (lowest == total_ + 1) state_ = MigrationState::agreed;
    num_stale_ = lowest > done_by_all_ ? 0 : num_stale_ + 1;
    if (lowest != word_of_failure && (state_ == MigrationState::agreed || num_stale_ < patience_)) {
      done_by_all_ = lowest;
      return false;
    }
    state_ = MigrationState::cancelled;
    return true;
  }

  /// Before everything else of a step: whether it is the first of the new epoch.
  bool begin_step() {
    if (state_ != MigrationState::agreed) return false;
    state_ = MigrationState::switched;
    epoch_ = next_;
    return true;
  }

  bool operator==(const EpochState&) const = default;

 private:
  std::uint64_t epoch_;
  std::uint64_t next_;
  MigrationState state_ = MigrationState::idle;
  std::int64_t total_ = 0;
  std::int64_t done_ = 0;
  std::int64_t done_by_all_ = 0;
  std::size_t patience_ = 1;
  std::size_t num_stale_ = 0;
  bool has_failed_ = false;
};

}  // namespace moewe
