#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "placement/plan.hpp"

namespace moewe {

/// From where on loads are alarming.
struct AlarmOptions {
  Millionths least_utilisation = 500'000;  ///< share of the experts that are used at all
  Millionths least_entropy = 750'000;      ///< of the loads, 1.0 where all are equal
  Millionths cold = 10'000;                ///< of the mean load: an expert below is hardly used
  Millionths overload = 4'000'000;         ///< of the mean load: an expert above is overloaded
  /// Of what other sources would have brought to an overloaded expert: the share beyond what a source brings
  /// of all assignments, over the largest that this could be.
  Millionths source_share = 500'000;
  /// Assignments per expert, in the mean, from which on utilisation and entropy are judged.
  std::int64_t least_counts = 16;
};

enum class LoadAlarmKind : std::uint8_t {
  utilisation,  ///< few experts are used: the router has collapsed, or all tokens are alike
  entropy,      ///< few experts get nearly all
  cold,         ///< experts that are hardly used
  source        ///< one source saturates one expert
};

struct LoadAlarm {
  LoadAlarmKind kind;
  std::size_t expert = 0;  ///< of source; of cold the coldest
  std::size_t source = 0;  ///< of source
  Millionths value =
      0;  ///< that is alarming: share of experts, entropy, share of the mean, share of a source
  Millionths threshold = 0;  ///< in the same unit
  std::string sentence;
};

struct LoadHealth {
  std::int64_t num_assignments = 0;
  std::size_t num_used = 0;  ///< experts with any
  std::size_t num_cold = 0;  ///< experts that are cold beyond doubt
  Millionths utilisation = 0;
  /// Of the loads over that of equal ones; corrected for what few counts seem to lack (Miller and Madow).
  Millionths entropy = 0;
  std::vector<LoadAlarm> alarms;  ///< by kind, those of sources by experts
};

/// What the counts [num_sources][num_experts] of one layer in one step, or the sums of several, say about
/// attacks and collapse. Chance raises no alarm: where counts are compared with a threshold they must be
/// beyond it by four standard deviations of as many independent draws (three below the cold one, as none can
/// be below 0). Values are told of any counts, 0 where there are none.
///
/// Integers only: the same wherever it is computed. Throws InvalidInput where counts are not a whole number
/// of sources, negative, or more than max_total_load (placement/split.hpp) in all.
LoadHealth examine_loads(std::span<const std::int64_t> counts, std::size_t num_sources,
                         const AlarmOptions& options = {});

}  // namespace moewe
