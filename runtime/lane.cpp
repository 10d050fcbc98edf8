#include "runtime/lane.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "runtime/paths/direct_path.hpp"
#include "runtime/paths/local_path.hpp"
#include "runtime/paths/message_path.hpp"
#include "runtime/paths/two_level_path.hpp"

namespace moewe {
namespace {

/// A relay serves all ranks of its node, and a row goes to a node by one path.
void check_two_level(const Topology& topology, Rank self, Rank peer, const ExchangeOptions& options) {
  const bool is_two_level = options.path_between(self, peer) == PathKind::two_level;
  if (topology.share_node(self, peer)) {
    if (!is_two_level) return;
    throw InvalidInput(fmt::format("path two-level cannot be used: ranks {} and {} are on one node",
                                   number(self), number(peer)));
  }
  for (const Rank neighbour : topology.node_ranks(self)) {
    for (const Rank there : topology.node_ranks(peer)) {
      if ((options.path_between(neighbour, there) == PathKind::two_level) == is_two_level) continue;
      throw InvalidInput(fmt::format(
          "path two-level is for all ranks of two nodes or for none: ranks {} and {} differ from {} and {}",
          number(self), number(peer), number(neighbour), number(there)));
    }
  }
}

std::vector<PathChoice> decide_paths(const Communicator& communicator, const ExchangeOptions& options,
                                     const PeerMemoryOffer& peer_memory) {
  const Rank self = communicator.rank();
  if (!options.path_between) {
    return choose_paths(communicator.topology(), self, options.path, peer_memory.reason_for_none,
                        options.basis);
  }
  std::vector<PathChoice> choices;
  for (std::size_t peer = 0; peer < communicator.size(); ++peer) {
    const PathKind kind = rank_at(peer) == self ? PathKind::local : options.path_between(self, rank_at(peer));
    if (kind != PathKind::local) check_two_level(communicator.topology(), self, rank_at(peer), options);
    choices.push_back({rank_at(peer), kind, "asked for"});
  }
  return choices;
}

/// Collective. Throws a shared Error(disagreement) that names the option.
void require_same_options(Communicator& communicator, const ExchangeOptions& options) {
  const DeviceTransportOptions& on_devices = options.device_messages;
  const std::array<std::int64_t, 8> mine{
      static_cast<std::int64_t>(options.path),
      static_cast<std::int64_t>(options.message_chunk_bytes),
      options.path_between ? 1 : 0,
      options.basis ? static_cast<std::int64_t>(options.basis->digest()) : 0,
      static_cast<std::int64_t>(on_devices.carriage),
      static_cast<std::int64_t>(on_devices.chunk_bytes),
      static_cast<std::int64_t>(on_devices.num_chunks),
      options.make_device_carrier ? 1 : 0};
  constexpr std::array<const char*, 8> names{"path",
                                             "message chunk",
                                             "path between ranks",
                                             "basis of automatic paths",
                                             "carriage of devices' messages",
                                             "chunk of devices' messages",
                                             "number of chunks of devices' messages",
                                             "own carrier of devices' messages"};
  std::array<std::int64_t, mine.size()> lowest = mine;
  std::array<std::int64_t, mine.size()> highest = mine;
  communicator.all_reduce({.sums = {}, .minima = lowest, .maxima = highest});
  for (std::size_t i = 0; i < mine.size(); ++i) {
    if (lowest[i] == highest[i]) continue;
    throw Error(
        ErrorKind::disagreement,
        fmt::format("ranks disagree about the exchange's {}: {} and {}", names[i], lowest[i], highest[i]),
        ErrorScope::shared);
  }
}

}  // namespace

Lane::Lane(Communicator& communicator, const Backend& backend, MemoryMeter& meter,
           const TokenBuffers& token_buffers, const ExchangeOptions& options)
    : meter_(meter),
      routed(meter_),
      decided(meter_, "routing after overflow"),
      plan(meter_),
      token_buffers_(token_buffers),
      transport_(backend.make_transport(communicator)),
      peer_memory_(
          backend.make_peer_memory(communicator, meter_, DirectPath::flags_needed(communicator.size()))),
      two_level_meter_(meter_, TwoLevelPath::segment_name) {
  require_same_options(communicator, options);
  together(communicator, [&] { paths_ = decide_paths(communicator, options, peer_memory_); });
  prepare_two_level(communicator, backend);
  together(communicator, [&] {
    exchange_ = std::make_unique<Exchange>(make_paths(communicator, options), communicator.waiter(), meter_);
  });
  add_planned(held());
}

/// Collective.
void Lane::prepare_two_level(Communicator& communicator, const Backend& backend) {
  std::array<std::int64_t, 1> is_needed{peers_on(PathKind::two_level).empty() ? 0 : 1};
  communicator.all_reduce({.sums = {}, .minima = {}, .maxima = is_needed});
  if (is_needed[0] == 0) return;
  two_level_transport_ = backend.make_transport(communicator);
  two_level_memory_ = backend.make_peer_memory(communicator, two_level_meter_,
                                               TwoLevelPath::flags_needed(communicator.size()));
}

void Lane::add_planned(const MemoryPlan& memory) {
  planned_.cover(memory);
  planned_since_release_.cover(memory);
  if (when_planned_) when_planned_();
}

MemoryPlan Lane::held() const {
  MemoryPlan memory;
  for (const auto& [name, use] : meter_.by_name()) memory.add(name, use.bytes);
  return memory;
}

void Lane::release_memory() {
  plan.release_memory();
  exchange_->release_memory();
  planned_since_release_ = held();
  planned_round.reset();
}

std::vector<std::unique_ptr<Path>> Lane::make_paths(Communicator& communicator,
                                                    const ExchangeOptions& options) {
  const Rank self = communicator.rank();
  const std::size_t num_ranks = communicator.size();
  std::vector<std::unique_ptr<Path>> paths;
  paths.push_back(std::make_unique<LocalPath>(self, meter_));
  if (const auto peers = peers_on(PathKind::two_level); !peers.empty()) {
    paths.push_back(make_two_level_path(communicator, peers, options.chunk_bytes(false)));
  }
  if (const auto peers = peers_on(PathKind::direct); !peers.empty()) {
    if (!peer_memory_.memory)
      throw InvalidInput("path direct cannot be used: " + peer_memory_.reason_for_none);
    paths.push_back(
        std::make_unique<DirectPath>(self, peers, num_ranks, *peer_memory_.memory, token_buffers_));
  }
  std::vector<MessagePath::Peer> peers;
  for (const Rank peer : peers_on(PathKind::message)) {
    peers.push_back({peer, options.chunk_bytes(communicator.topology().share_node(self, peer))});
  }
  if (!peers.empty()) paths.push_back(std::make_unique<MessagePath>(self, peers, *transport_, meter_));
  return paths;
}

std::unique_ptr<Path> Lane::make_two_level_path(const Communicator& communicator, std::vector<Rank> peers,
                                                std::size_t chunk_bytes) {
  if (!two_level_memory_.memory) {
    throw InvalidInput("path two-level cannot be used: no shared memory: " +
                       two_level_memory_.reason_for_none);
  }
  return std::make_unique<TwoLevelPath>(
      communicator.rank(), std::move(peers),
      TwoLevelParts{communicator.topology(), *two_level_transport_, *two_level_memory_.memory}, meter_,
      chunk_bytes, [this](const MemoryPlan& memory) { add_planned(memory); });
}

std::vector<Rank> Lane::peers_on(PathKind kind) const {
  std::vector<Rank> peers;
  for (const PathChoice& choice : paths_) {
    if (choice.kind == kind) peers.push_back(choice.peer);
  }
  return peers;
}

}  // namespace moewe
