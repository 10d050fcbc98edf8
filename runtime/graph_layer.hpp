#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/device_layer.hpp"
#include "runtime/graph_lane.hpp"

namespace moewe {

struct DeviceCount;  // of runtime/kernels/device_count.hpp

/// What a layer's graphs read and write, in device memory that stays where it is; for as many tokens as the
/// graph lane's bounds have. What it holds is read by each step.
struct GraphTokens {
  const std::byte* x;                 ///< [most tokens, hidden] of the layer's dtype
  const std::uint32_t* num_tokens;    ///< [1]
  float* y;                           ///< [most tokens, hidden]; rows beyond num_tokens are left as they are
  const ExpertId* experts = nullptr;  ///< [most tokens, k]; null: the router chooses
  const float* weights = nullptr;     ///< the same
};

/// Why a layer with these options, and of these experts, has no graphs so far, or empty.
std::string reason_against_graphs(const LayerOptions& options, bool has_own_experts);

/// The steps of a DeviceLayer as graphs, one for each bucket of tokens: for decode, where a launch for each
/// kernel, and agreeing with the other ranks, would take longer than what they do. Outputs have the bits of
/// DeviceLayer::forward. Copies of an expert share its tokens by rank: each rank's go to a copy of its own or
/// else to that whose number is the rank's modulo the copies, since no counts are exchanged before.
///
/// Where the layer's weights lie, and its placement, is recorded: weights that change in their place count
/// from the next launch on; a layer of another epoch has graphs of its own.
class GraphLayer {
 public:
  /// Collective and blocking. Borrows lane and layer. Does a step without tokens for each bucket, so that its
  /// kernels are loaded, and records it. Throws a shared Error for layers that have no graphs.
  GraphLayer(GraphLane& lane, DeviceLayer& layer, const GraphTokens& tokens);

  /// The same of tokens in host memory, for forward(); with given routings or the router's.
  GraphLayer(GraphLane& lane, DeviceLayer& layer, bool is_routing_given);
  ~GraphLayer();
  GraphLayer(const GraphLayer&) = delete;
  GraphLayer& operator=(const GraphLayer&) = delete;

  /// What a layer with copies of experts takes, in so many slots of all ranks, under the lane's name.
  static constexpr std::size_t quota_bytes(std::size_t num_slots) { return num_slots * sizeof(std::int64_t); }

  /// One step, which is enqueued on the lane's queue without waiting for it. All ranks launch it, with the
  /// same number: at least that of the tokens of any rank.
  void launch(std::size_t most_tokens_of_rank);

  /// Collective and blocking: one step of tokens in host memory, as DeviceLayer::forward. `routing` is given
  /// where it is to be. Throws a shared error where a bound is broken:
  /// verification for the ledger, disagreement where ranks launched different steps, else InvalidInput. A
  /// layer of tokens of a caller's own is refused.
  void forward(TokenRows x, const Routing* routing, std::span<float> y, std::size_t most_tokens_of_rank);

  /// Of the last forward(), until the next; in host memory.
  const Routing& routing() const { return routing_; }
  std::span<const std::uint32_t> computed_per_slot() const;

  const std::vector<std::size_t>& buckets() const { return buckets_; }

  /// Pieces of work in the graph of the largest bucket.
  std::size_t num_nodes() const { return graphs_.back()->num_nodes(); }

 private:
  void construct();
  void share_copies();
  void record();
  void enqueue(std::size_t bucket);
  void choose(std::size_t bucket);
  void plan(std::size_t bucket);
  void dispatch(std::size_t bucket);
  void start_shared_expert(std::size_t bucket);
  void run_experts(std::size_t bucket);
  void tell(std::size_t bucket);
  void combine(std::size_t bucket);
  void check(TokenRows x, const Routing* routing, std::span<float> y) const;
  void put(TokenRows x, const Routing* routing, std::size_t num_tokens);

  const ExpertId* experts() const;
  const float* weights() const;
  DeviceCount num_tokens(std::size_t bucket) const;
  DeviceCount num_assignments(std::size_t bucket) const;
  GraphName name(std::size_t bucket) const;
  std::uint32_t num_ranks() const;
  std::uint32_t num_slots() const;

  GraphLane& lane_;
  DeviceLayer& layer_;
  GraphTokens tokens_;
  std::vector<std::size_t> buckets_;
  std::vector<std::unique_ptr<Graph>> graphs_;
  DeviceBuffer quotas_;  // of this rank, where experts have copies
  Routing routing_;
};

}  // namespace moewe
