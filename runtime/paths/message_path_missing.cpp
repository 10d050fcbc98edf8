#include <string>

#include "runtime/paths/message_path.hpp"
#include "runtime/paths/message_peers.hpp"

// What the message path lacks, in words.

namespace moewe {

/// Of the chunk that comes next; its tokens are known once the manifest is.
PartName MessagePath::name_rows(const Incoming& source, std::size_t number) const {
  if (source.chunks.empty()) return {Direction::dispatch, source.from, self_, "the manifest"};
  const Chunk& chunk = source.chunks[number];
  const std::span<const PlannedAssignment> manifest(source.manifest);
  return {Direction::dispatch, source.from, self_,
          "the rows of " + name_tokens(manifest.subspan(chunk.first_assignment, chunk.num_assignments))};
}

PartName MessagePath::name_outputs(const Outgoing& peer, std::size_t number) const {
  const Chunk& chunk = peer.chunks[number];
  const auto assignments = peer.destination.assignments;
  return {
      Direction::back, peer.to, self_,
      "the outputs of " + name_tokens(assignments.subspan(chunk.first_assignment, chunk.num_assignments))};
}

void MessagePath::list_missing(std::size_t num_lacking, MissingParts& missing) const {
  list_missing_rows(num_lacking, missing);
  for (const auto& peer : outgoing_) {
    if (peer->num_returned < peer->returns.size()) missing.add(name_outputs(*peer, peer->num_returned));
  }
}

/// Who has announced nothing may have nothing to send, unless more is lacking than has been announced.
void MessagePath::list_missing_rows(std::size_t num_lacking, MissingParts& missing) const {
  std::vector<Rank> silent;
  for (const auto& peer : outgoing_) silent.push_back(peer->to);
  std::size_t num_announced = 0;
  for (const auto& source : incoming_) {
    std::erase(silent, source->from);
    if (source->num_collected == source->receives.size()) continue;
    missing.add(name_rows(*source, source->num_collected));
    const bool is_known = !source->chunks.empty();
    num_announced += source->counts.num_assignments -
                     (is_known ? source->chunks[source->num_collected].first_assignment : 0);
  }
  if (num_lacking > num_announced) {
    missing.add_of_one(Direction::dispatch, silent, self_, "the announcement");
  }
}

}  // namespace moewe
