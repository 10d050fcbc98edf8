#include "launch/run_inputs.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "launch/cost_file.hpp"
#include "launch/run_files.hpp"
#include "launch/run_loads.hpp"
#include "launch/shared_options.hpp"
#include "placement/speed_split.hpp"
#include "placement/stages.hpp"

namespace moewe {
namespace {

/// Throws InvalidInput, which begins with `where`, where `layer` has no placement, or one with other
/// numbers of slots than the first layer's.
void check_placement(const PlacementMap& map, std::size_t layer, std::size_t first,
                     const std::string& where) {
  const auto found = map.find(layer);
  if (found == map.end()) throw InvalidInput(fmt::format("{}: does not place layer {}", where, layer));
  const Placement& placement = found->second;
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) {
    const std::size_t held = placement.experts_of(rank_at(rank)).size();
    const std::size_t expected = map.at(first).experts_of(rank_at(rank)).size();
    if (held == expected) continue;
    throw InvalidInput(
        fmt::format("{}: rank {} holds {} experts of layer {} and {} of layer {}; it must be "
                    "equally many of all",
                    where, rank, expected, first, held, layer));
  }
}

}  // namespace

RunInputs::RunInputs(Communicator& communicator, const RunOptions& options, std::size_t num_threads) {
  require_same_options(communicator, options.shared_settings());
  together(communicator, [&] { open(communicator.topology(), options, num_threads); });
  require_same_text(communicator, fmt::format("{:016x}", model_->digest()), [&](const auto&) {
    return fmt::format("{}: configuration or tensor headers are not those of rank 0's checkpoint",
                       model_->name());
  });
  require_same_text(communicator, fmt::format("{:016x}", input_ ? digest_of(*input_) : 0), [&](const auto&) {
    return fmt::format("{}: tensor headers are not those of rank 0's input", input_->path());
  });
  require_same_text(communicator, std::to_string(tokens_->num_tokens()), [&](const auto& of_rank_0) {
    return fmt::format("{} tokens per step here, but {} on rank 0", tokens_->num_tokens(), of_rank_0);
  });
  require_same_text(communicator, loads_ ? digest(*loads_) : "", [&](const auto&) {
    return fmt::format("{}: is not what rank 0 reads as --loads", options.loads.value_or("").string());
  });
  require_same_text(communicator, costs_ ? to_json(*costs_) : "", [&](const auto&) {
    return fmt::format("{}: is not what rank 0 reads as --cost", options.cost.value_or("").string());
  });
  require_same_text(communicator, digest(placements_), [&](const auto&) {
    return fmt::format("{}: is not the placement of rank 0", options.placement.value_or("").string());
  });
}

void RunInputs::open(const Topology& topology, const RunOptions& options, std::size_t num_threads) {
  model_ = open_model(options, num_threads);
  if (options.input) input_ = std::make_unique<SafetensorsFile>(*options.input);
  has_reference_ = !options.routing.is_forced() && !options.layer.capacity;
  layers_ = choose_layers(options);
  for (const std::size_t layer : layers_) model_->check_layer(layer);
  routing_ = open_routing(options, model_->config(), layers_);
  open_tokens(topology.num_ranks(), options);
  check_run_files(options, files_read());
  open_placements(topology, options);
  open_costs(topology.num_ranks(), options);
}

void RunInputs::open_tokens(std::size_t num_ranks, const RunOptions& options) {
  const std::size_t hidden = spec().expert.hidden;
  std::optional<std::size_t> asked_for = options.tokens;
  if (options.tokens_per_rank) asked_for = *options.tokens_per_rank * num_ranks;
  if (!asked_for && routing_) asked_for = routing_->tokens_per_step();
  if (!input_) {
    tokens_ = std::make_unique<GeneratedTokens>(options.seed, asked_for.value(), hidden);
    return;
  }
  const std::size_t num_tokens = asked_for.value_or(recorded_tokens(*input_, layers_.front(), hidden));
  for (const std::size_t layer : layers_) {
    const std::size_t recorded = recorded_tokens(*input_, layer, hidden);
    if (!asked_for && recorded != num_tokens) {
      throw InvalidInput(
          fmt::format("{}: layer {} has {} tokens and layer {} has {}; --tokens N takes the first N of each",
                      input_->path(), layers_.front(), num_tokens, layer, recorded));
    }
  }
  tokens_ = std::make_unique<RecordedTokens>(*input_, layers_, num_tokens, hidden);
}

void RunInputs::open_placements(const Topology& topology, const RunOptions& options) {
  num_spares_ = options.rebalance.spare_slots;
  if (options.loads) loads_ = read_loads_of(model_->config(), *options.loads);
  if (options.plans_placement) plans_ = plan_for(loads_.value(), topology, num_spares_);
  if (!options.placement) return;
  placements_ = read_placement_map(*options.placement, {topology.num_ranks(), spec().num_experts});
  for (const std::size_t layer : layers_) {
    check_placement(placements_, layer, layers_.front(), options.placement->string());
  }
}

void RunInputs::open_costs(std::size_t num_ranks, const RunOptions& options) {
  if (!options.cost) return;
  const std::string file = options.cost->string();
  costs_ = read_costs(*options.cost, num_ranks);
  if (costs_->top_k != static_cast<std::int64_t>(spec().router.top_k))
    throw InvalidInput(
        fmt::format("{}: is for top_k {}, but the model has {}", file, costs_->top_k, spec().router.top_k));
  if (costs_->returns_sums != (options.layer.combine == Combine::fast))
    throw InvalidInput(fmt::format("{}: is for the other --combine", file));
  for (const Millionths slowness : costs_->slowness) {
    if (slowness < least_slowness) throw InvalidInput(fmt::format("{}: a slowness is below 1 / 1000", file));
  }
  if (options.rebalance.measures_speeds && !costs_->slowness.empty())
    throw InvalidInput(
        fmt::format("{}: tells the slowness of ranks, which --measure {} would measure; choose one", file,
                    describe_measure(options.rebalance)));
}

Placement RunInputs::placement(std::size_t layer, std::size_t num_ranks) const {
  const auto plan = plans_.find(layer);
  if (plan != plans_.end()) return plan->second;
  const auto found = placements_.find(layer);
  const Placement placement =
      found == placements_.end() ? contiguous_placement(spec().num_experts, num_ranks) : found->second;
  const bool has_spares = placement.num_slots() - placement.num_experts() >= num_spares_ * num_ranks;
  return has_spares ? placement : with_spare_copies(placement, num_spares_);
}

std::vector<std::filesystem::path> RunInputs::files_read() const {
  std::vector<std::filesystem::path> read = model_->files_read();
  if (routing_) {
    for (const auto& file : routing_->files_read()) read.push_back(file);
  }
  return read;
}

std::uint64_t digest_of(const SafetensorsFile& file) {
  std::string text;
  for (const auto& [name, tensor] : file.tensors()) {
    text += fmt::format("{} {} {}\n", name, tensor.dtype, describe_shape(tensor.shape));
  }
  return XXH3_64bits(text.data(), text.size());
}

std::vector<std::size_t> RunInputs::choose_layers(const RunOptions& options) const {
  if (options.layers) return *options.layers;
  return input_ ? recorded_layers(*input_) : model_->config().moe_layers;
}

}  // namespace moewe
