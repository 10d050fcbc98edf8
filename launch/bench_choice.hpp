#pragma once

#include <string>

#include "launch/exchange_choice.hpp"

namespace moewe {

/// What `moewe run` would choose for a case by itself.
struct BenchChoice {
  std::string path;     ///< between nodes, or where there is but one, inside it; "mixed" where pairs differ
  std::string carrier;  ///< of messages
  std::string reason;   ///< for the path; of the first pair where they are mixed
  std::string carrier_reason;  ///< for the carrier

  /// Name of the contestant that does the same; none does where paths are mixed.
  std::string contestant() const;
};

/// "direct", "message-mpi", "message-ucx", "two-level" over mpi, "two-level-ucx".
std::string contestant_name(const std::string& path, const std::string& carrier);

/// Local and pure.
BenchChoice choose_for_bench(const Topology& topology, const Calibration& calibration,
                             const ExpectedTraffic& traffic);

}  // namespace moewe
