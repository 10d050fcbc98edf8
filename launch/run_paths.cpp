#include "launch/run_paths.hpp"

#include <fmt/format.h>
#include <span>
#include <sstream>

namespace moewe {
namespace {

const char* name_of(PathKind kind) {
  switch (kind) {
    case PathKind::local:
      return "local";
    case PathKind::direct:
      return "direct";
    case PathKind::message:
      return "message";
    case PathKind::two_level:
      return "two-level";
  }
  return "";
}

}  // namespace

std::vector<PairPath> gather_paths(Communicator& communicator, const RunPaths& own) {
  std::string mine;
  for (const PathChoice& choice : own.paths) {
    const bool by_message = choice.kind == PathKind::message || choice.kind == PathKind::two_level;
    mine += fmt::format(
        "{}\t{}\t{}\t{}\n", choice.kind == PathKind::direct ? own.name_of_direct : name_of(choice.kind),
        by_message ? own.carrier : "memory", by_message ? own.carrier_reason : "of the path", choice.reason);
  }
  const auto all = communicator.gather(std::as_bytes(std::span(mine)), Rank{0});
  std::vector<PairPath> pairs;
  std::istringstream lines(std::string(reinterpret_cast<const char*>(all.data()), all.size()));
  for (PairPath pair; std::getline(lines, pair.path, '\t') && std::getline(lines, pair.carrier, '\t') &&
                      std::getline(lines, pair.carrier_reason, '\t') && std::getline(lines, pair.reason);) {
    pair.from = pairs.size() / communicator.size();
    pair.to = pairs.size() % communicator.size();
    pairs.push_back(pair);
  }
  return pairs;
}

}  // namespace moewe
