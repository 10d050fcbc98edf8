#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "comm/communicator.hpp"
#include "launch/model_source.hpp"
#include "launch/options.hpp"
#include "launch/placement_map.hpp"
#include "launch/routing_source.hpp"
#include "launch/token_source.hpp"
#include "placement/load_history.hpp"
#include "placement/time_cost.hpp"

namespace moewe {

/// What a run reads, opened and checked on every rank before anything large is allocated.
class RunInputs {
 public:
  /// Collective. Throws a shared InvalidInput when options differ between ranks, when a file is unusable, or
  /// when ranks found different models or tensor headers in theirs. `num_threads` is this rank's.
  RunInputs(Communicator& communicator, const RunOptions& options, std::size_t num_threads);

  const ModelSource& model() const { return *model_; }
  const LayerSpec& spec() const { return model_->config().layer; }
  const std::vector<std::size_t>& layers() const { return layers_; }
  const TokenSource& tokens() const { return *tokens_; }

  /// Null where tokens are generated.
  const SafetensorsFile* input() const { return input_.get(); }

  /// The first one of one of layers(), on `num_ranks`, which is the job's number of ranks. All have as many
  /// slots on a rank.
  Placement placement(std::size_t layer, std::size_t num_ranks) const;

  /// What earlier runs recorded, or null. The same on every rank.
  const LoadHistory* loads() const { return loads_ ? &*loads_ : nullptr; }

  /// What a layer's steps cost, or null where nobody told. The same on every rank.
  const CostCoefficients* costs() const { return costs_ ? &*costs_ : nullptr; }

  /// Null where the router chooses.
  const RoutingSource* routing() const { return routing_.get(); }

  /// The file that results are compared with, or null where there is none, or where they cannot be what was
  /// recorded since the routing is forced or assignments may be dropped.
  const SafetensorsFile* reference() const { return has_reference_ ? input_.get() : nullptr; }

 private:
  void open(const Topology& topology, const RunOptions& options, std::size_t num_threads);
  void open_tokens(std::size_t num_ranks, const RunOptions& options);
  void open_costs(std::size_t num_ranks, const RunOptions& options);
  void open_placements(const Topology& topology, const RunOptions& options);
  std::vector<std::filesystem::path> files_read() const;
  std::vector<std::size_t> choose_layers(const RunOptions& options) const;

  std::unique_ptr<ModelSource> model_;
  std::unique_ptr<SafetensorsFile> input_;
  std::vector<std::size_t> layers_;
  std::unique_ptr<RoutingSource> routing_;
  std::unique_ptr<TokenSource> tokens_;
  PlacementMap placements_;  // none: contiguous
  PlacementMap plans_;       // for the loads; layers without are contiguous
  std::optional<LoadHistory> loads_;
  std::optional<CostCoefficients> costs_;
  std::size_t num_spares_ = 0;
  bool has_reference_ = false;
};

/// Equal for two files whose tensors have the same names, types and shapes.
std::uint64_t digest_of(const SafetensorsFile& file);

}  // namespace moewe
