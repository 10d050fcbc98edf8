#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "runtime/path_choice.hpp"

namespace moewe {

/// How rows travel from this rank to every rank, in rank order.
struct RunPaths {
  std::vector<PathChoice> paths;
  const char* name_of_direct = "direct";
  std::string carrier;         ///< of messages
  std::string carrier_reason;  ///< for people
};

/// One pair of ranks and how rows travel between them.
struct PairPath {
  std::size_t from = 0;
  std::size_t to = 0;
  std::string path;
  std::string carrier;
  std::string reason;          ///< for the path
  std::string carrier_reason;  ///< for the carrier
};

/// Collective. Those of all pairs on rank 0, rank by rank; none on the others.
std::vector<PairPath> gather_paths(Communicator& communicator, const RunPaths& own);

}  // namespace moewe
