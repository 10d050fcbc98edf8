#include "launch/calibration.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unistd.h>

#include "comm/link_measurement.hpp"
#include "comm/log.hpp"
#include "comm/mpi/mpi_backend.hpp"
#include "comm/together.hpp"
#include "comm/ucx/ucx_transport.hpp"
#include "launch/link_cache.hpp"
#include "launch/shared_options.hpp"
#include "runtime/lane.hpp"

namespace moewe {
namespace {

bool has_neighbours(const Topology& topology) { return topology.num_nodes() < topology.num_ranks(); }

/// Why no choice depends on any measurement; empty if one may.
std::string reason_for_no_choice(const Topology& topology, const Backend& found,
                                 const ExchangeRequest& request) {
  if (!is_between_processes(found)) return "threads of one process";
  if (request.calibrate == Calibrate::off) return "the default";
  if (topology.num_ranks() == 1) return "one rank";
  const bool has_messages = topology.num_nodes() > 1 || request.path == PathRequest::message;
  return has_messages ? "" : "all ranks share a node: nothing to measure";
}

bool may_choose_path(const Topology& topology, const ExchangeRequest& request) {
  return request.path == PathRequest::automatic && topology.num_nodes() > 1 && has_neighbours(topology);
}

/// Settings by which a carrier becomes another one.
std::vector<std::string> carrier_settings() {
  std::vector<std::string> settings;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    for (const std::string_view prefix : {"UCX_", "OMPI_MCA_btl", "OMPI_MCA_pml", "OMPI_MCA_mtl"}) {
      if (text.substr(0, prefix.size()) == prefix) settings.emplace_back(text);
    }
  }
  std::sort(settings.begin(), settings.end());
  return settings;
}

/// Collective. The name of each rank's host, on rank 0.
std::vector<std::string> gather_hosts(Communicator& communicator) {
  std::array<char, 256> mine{};
  gethostname(mine.data(), mine.size() - 1);
  const auto all = communicator.gather(std::as_bytes(std::span(mine)), Rank{0});
  std::vector<std::string> hosts;
  for (std::size_t at = 0; at < all.size(); at += mine.size())
    hosts.emplace_back(reinterpret_cast<const char*>(all.data() + at));
  return hosts;
}

/// Collective. On rank 0: which ranks are where, what carries messages, and how that is set.
ClusterKey key_of(Communicator& communicator, const std::vector<Backend>& carriers) {
  const std::vector<std::string> hosts = gather_hosts(communicator);
  std::vector<std::size_t> nodes;
  for (std::size_t r = 0; r < communicator.size(); ++r)
    nodes.push_back(communicator.topology().node_of(rank_at(r)));
  nlohmann::json key{{"moewe", MOEWE_VERSION},
                     {"node_of_rank", nodes},
                     {"hosts", hosts},
                     {"mpi", mpi_version()},
                     {"ucx", ucx_version()},
                     {"settings", carrier_settings()},
                     {"carriers", nlohmann::json::array()}};
  for (const Backend& carrier : carriers) key["carriers"].push_back(carrier.carrier);
  return {key.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace)};
}

/// Whether these are the costs of such a cluster, whoever wrote them down.
bool fit(const LinkCosts& costs, const Topology& topology, const std::vector<Backend>& carriers) {
  const auto fits = [&](const CarrierCosts& cost, const Backend& carrier) {
    return cost.carrier == carrier.carrier && cost.between_nodes.has_value() == (topology.num_nodes() > 1) &&
           cost.inside_nodes.has_value() == has_neighbours(topology);
  };
  return std::equal(costs.carriers.begin(), costs.carriers.end(), carriers.begin(), carriers.end(), fits);
}

/// Local, on rank 0. Empty where links have to be measured.
std::string read_cache(const LinkCache& cache, const ClusterKey& key, const Topology& topology,
                       const std::vector<Backend>& carriers) {
  const auto costs = cache.read(key, std::chrono::system_clock::now());
  if (!costs) return "";
  if (fit(*costs, topology, carriers)) return to_text(*costs);
  log(LogLevel::warning,
      fmt::format("{}: the costs are of other links; links are measured anew", cache.file_of(key).string()));
  return "";
}

/// Collective.
LinkCosts find_costs(Communicator& communicator, const std::vector<Backend>& carriers, Calibrate when) {
  const ClusterKey key = key_of(communicator, carriers);
  const bool is_first = communicator.rank() == Rank{0};
  const auto cache = is_first ? LinkCache::of_user() : std::nullopt;
  std::string text;
  together(communicator, [&] {
    if (cache && when == Calibrate::cached) text = read_cache(*cache, key, communicator.topology(), carriers);
  });
  text = text_of_rank_0(communicator, text);
  if (!text.empty()) return parse_link_costs(text, "the costs of rank 0");
  const ExchangeOptions options;
  const LinkCosts measured =
      measure_links(communicator, carriers, {options.chunk_bytes(true), options.chunk_bytes(false)});
  together(communicator, [&] {
    if (cache) cache->write(key, measured, std::chrono::system_clock::now());
  });
  return parse_link_costs(text_of_rank_0(communicator, to_text(measured)), "the costs of rank 0");
}

}  // namespace

Calibration calibrate(Communicator& communicator, const Backend& found, const ExchangeRequest& request) {
  const Topology& topology = communicator.topology();
  Calibration calibration{request, {found}, std::nullopt, reason_for_no_choice(topology, found, request)};
  const bool may_choose = calibration.reason_for_none.empty();
  if (may_choose || request.carrier != CarrierRequest::automatic)
    calibration.carriers = usable_carriers(communicator, found, request.carrier);
  if (!may_choose) return calibration;
  if (calibration.carriers.size() > 1 || may_choose_path(topology, request) || request.needs_links) {
    calibration.costs = find_costs(communicator, calibration.carriers, request.calibrate);
  } else {
    calibration.reason_for_none = "no other can be used";
  }
  return calibration;
}

}  // namespace moewe
