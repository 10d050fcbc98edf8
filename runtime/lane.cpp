#include "runtime/lane.hpp"

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "runtime/paths/direct_path.hpp"
#include "runtime/paths/local_path.hpp"
#include "runtime/paths/message_path.hpp"

namespace moewe {
namespace {

std::vector<PathChoice> decide_paths(const Communicator& communicator, const ExchangeOptions& options,
                                     const PeerMemoryOffer& peer_memory) {
  const Rank self = communicator.rank();
  if (!options.path_between) {
    return choose_paths(communicator.topology(), self, options.path, peer_memory.reason_for_none);
  }
  std::vector<PathChoice> choices;
  for (std::size_t peer = 0; peer < communicator.size(); ++peer) {
    const PathKind kind = rank_at(peer) == self ? PathKind::local : options.path_between(self, rank_at(peer));
    choices.push_back({rank_at(peer), kind, "asked for"});
  }
  return choices;
}

}  // namespace

Lane::Lane(Communicator& communicator, const Backend& backend, MemoryMeter& meter,
           const ExchangeOptions& options)
    : transport_(backend.make_transport(communicator)),
      peer_memory_(
          backend.make_peer_memory(communicator, meter, DirectPath::flags_needed(communicator.size()))) {
  together(communicator, [&] {
    paths_ = decide_paths(communicator, options, peer_memory_);
    exchange_ = std::make_unique<Exchange>(make_paths(communicator, meter, options.message_chunk_bytes),
                                           communicator.waiter());
  });
}

std::vector<std::unique_ptr<Path>> Lane::make_paths(Communicator& communicator, MemoryMeter& meter,
                                                    std::size_t message_chunk_bytes) {
  const Rank self = communicator.rank();
  const std::size_t num_ranks = communicator.size();
  std::vector<std::unique_ptr<Path>> paths;
  paths.push_back(std::make_unique<LocalPath>(self, meter));
  if (const auto peers = peers_on(PathKind::direct); !peers.empty()) {
    if (!peer_memory_.memory)
      throw InvalidInput("path direct cannot be used: " + peer_memory_.reason_for_none);
    paths.push_back(std::make_unique<DirectPath>(self, peers, num_ranks, *peer_memory_.memory));
  }
  if (const auto peers = peers_on(PathKind::message); !peers.empty()) {
    paths.push_back(std::make_unique<MessagePath>(peers, num_ranks, *transport_, meter, message_chunk_bytes));
  }
  return paths;
}

std::vector<Rank> Lane::peers_on(PathKind kind) const {
  std::vector<Rank> peers;
  for (const PathChoice& choice : paths_) {
    if (choice.kind == kind) peers.push_back(choice.peer);
  }
  return peers;
}

}  // namespace moewe
