#include "launch/bench_choice.hpp"

namespace moewe {
namespace {

const char* name_between(PathKind kind) { return kind == PathKind::two_level ? "two-level" : "message"; }

}  // namespace

std::string contestant_name(const std::string& path, const std::string& carrier) {
  const bool is_plain = path == "direct" || (path == "two-level" && carrier != "ucx");
  return is_plain ? path : path + "-" + carrier;
}

std::string BenchChoice::contestant() const { return path == "mixed" ? "" : contestant_name(path, carrier); }

BenchChoice choose_for_bench(const Topology& topology, const Calibration& calibration,
                             const ExpectedTraffic& traffic) {
  const ExchangeChoice exchange = choose_exchange(topology, calibration, traffic);
  BenchChoice choice{"", exchange.backend.carrier, "", exchange.backend.carrier_reason};
  const bool is_one_node = topology.num_nodes() == 1;
  for (std::size_t r = 0; r < topology.num_ranks(); ++r) {
    const Rank self = rank_at(r);
    for (const PathChoice& pair : choose_paths(topology, self, PathRequest::automatic, "", exchange.basis)) {
      if (is_one_node ? pair.peer == self : topology.share_node(self, pair.peer)) continue;
      const std::string path = is_one_node ? "direct" : name_between(pair.kind);
      if (choice.path.empty()) choice.reason = pair.reason;
      choice.path = choice.path.empty() || choice.path == path ? path : "mixed";
    }
  }
  if (choice.path.empty()) choice = {"direct", choice.carrier, "one rank", choice.carrier_reason};
  return choice;
}

}  // namespace moewe
