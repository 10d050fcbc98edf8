#include "runtime/engine.hpp"

#include <algorithm>
#include <omp.h>

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "runtime/paths/direct_path.hpp"
#include "runtime/paths/local_path.hpp"
#include "runtime/paths/message_path.hpp"

namespace moewe {

Engine::Engine(Communicator& communicator, const Backend& backend, EngineOptions options)
    : options_(std::move(options)),
      carrier_(backend.carrier),
      communicator_(communicator.child()),
      transport_(backend.make_transport(*communicator_)),
      peer_memory_(
          backend.make_peer_memory(*communicator_, meter_, DirectPath::flags_needed(communicator_->size()))) {
  together(*communicator_, [&] {
    if (options_.threads > 0) omp_set_num_threads(options_.threads);
    paths_ = decide_paths();
    lane_ = std::make_unique<Lane>(Lane{Exchange(make_paths(), communicator_->waiter()), {}, {}, {}});
  });
}

Engine::~Engine() = default;

std::vector<PathChoice> Engine::decide_paths() const {
  const Rank self = communicator_->rank();
  if (!options_.path_between) {
    return choose_paths(communicator_->topology(), self, options_.path, peer_memory_.reason_for_none);
  }
  std::vector<PathChoice> choices;
  for (std::size_t peer = 0; peer < communicator_->size(); ++peer) {
    const PathKind kind =
        rank_at(peer) == self ? PathKind::local : options_.path_between(self, rank_at(peer));
    choices.push_back({rank_at(peer), kind, "asked for"});
  }
  return choices;
}

std::vector<Rank> Engine::peers_on(PathKind kind) const {
  std::vector<Rank> peers;
  for (const PathChoice& choice : paths_) {
    if (choice.kind == kind) peers.push_back(choice.peer);
  }
  return peers;
}

std::vector<std::unique_ptr<Path>> Engine::make_paths() {
  const Rank self = communicator_->rank();
  const std::size_t num_ranks = communicator_->size();
  std::vector<std::unique_ptr<Path>> paths;
  paths.push_back(std::make_unique<LocalPath>(self, meter_));
  if (const auto peers = peers_on(PathKind::direct); !peers.empty()) {
    if (!peer_memory_.memory)
      throw InvalidInput("path direct cannot be used: " + peer_memory_.reason_for_none);
    paths.push_back(std::make_unique<DirectPath>(self, peers, num_ranks, *peer_memory_.memory));
  }
  if (const auto peers = peers_on(PathKind::message); !peers.empty()) {
    paths.push_back(
        std::make_unique<MessagePath>(peers, num_ranks, *transport_, meter_, options_.message_chunk_bytes));
  }
  return paths;
}

std::size_t Engine::add_layer(std::size_t num_experts) {
  max_experts_ = std::max(max_experts_, num_experts);
  return num_layers_++;
}

StepPosition& Engine::begin_step(std::size_t layer) {
  position_ = {position_.step + 1, layer, Phase::route};
  return position_;
}

}  // namespace moewe
