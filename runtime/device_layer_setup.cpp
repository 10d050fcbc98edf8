#include <fmt/format.h>
#include <utility>

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "runtime/device_layer.hpp"
#include "runtime/keep_until_exit.hpp"
#include "runtime/model_config.hpp"

namespace moewe {
namespace {

/// route_tokens keeps a token's scores in the memory of a block, of which any GPU has so much.
constexpr std::size_t most_scores = (std::size_t{48} << 10U) / (2 * sizeof(float));

/// Values of a step that are numbered with 32 bits.
constexpr std::size_t most_assignments = std::size_t{1} << 31U;

}  // namespace

std::string reason_against_devices(const LayerOptions& options) {
  if (options.split == SplitMode::stored)
    return "on devices splits are exact so far: stored ones are for the CPU";
  return "";
}

DeviceLayer::DeviceLayer(Engine& engine, DeviceLane& lane, const LayerSpec& spec, Placement placement,
                         const WeightSource& source, const LayerOptions& options)
    : engine_(engine),
      lane_(lane),
      spec_(spec),
      options_(options),
      placement_(std::move(placement)),
      number_(engine.num_layers()) {
  construct(&source);
}

DeviceLayer::DeviceLayer(Engine& engine, DeviceLane& lane, const LayerSpec& spec, Placement placement,
                         DeviceExpertFunction experts, const RowArrangement& arrangement,
                         const LayerOptions& options)
    : engine_(engine),
      lane_(lane),
      spec_(spec),
      options_(options),
      placement_(std::move(placement)),
      number_(engine.num_layers()),
      function_(std::move(experts)),
      arrangement_(arrangement) {
  construct(nullptr);
}

void DeviceLayer::construct(const WeightSource* source) {
  Communicator& communicator = engine_.communicator();
  StepProposal proposal;
  proposal.header = header(Operation::construct_layer, placement_);
  proposal.counts_length = engine_.max_counts();
  try {
    check();
    if (source == nullptr && !function_) throw InvalidInput("a layer needs weights or an expert function");
  } catch (...) {
    proposal.failure = std::current_exception();
  }
  agree(communicator, std::move(proposal));
  if (options_.can_migrate()) lane_.require_weight_carrier();
  most_places_.assign(communicator.size(), 0);
  together(communicator, [&] {
    prepare_migration();  // before weights take more memory for a while
    const std::function<void()> wait = [&] { lane_.wait(); };
    weights_.emplace(spec_, options_.dtype, placement_, communicator.rank(), source,
                     DeviceWeights::Load{lane_.device(), lane_.queue(), engine_.memory(), wait,
                                         options_.spare_slots, options_.staging_slots});
  });
  engine_.add_layer(spec_.num_experts);
}

void DeviceLayer::check() const {
  check_layer_spec(spec_, "a layer");
  const DeviceSizes& sizes = lane_.sizes();
  if (sizes.spec != spec_ || sizes.dtype != options_.dtype || sizes.combine != options_.combine)
    throw InvalidInput("a layer on a device has the sizes that its lane was made for");
  const std::size_t num_ranks = engine_.communicator().size();
  if (placement_.num_ranks() != num_ranks || placement_.num_experts() != spec_.num_experts) {
    throw InvalidInput(fmt::format("the placement is of {} experts on {} ranks, the layer of {} on {}",
                                   placement_.num_experts(), placement_.num_ranks(), spec_.num_experts,
                                   num_ranks));
  }
  const std::size_t num_slots =
      placement_.experts_of(engine_.communicator().rank()).size() + options_.spare_slots;
  const std::size_t most_slots = placement_.num_slots() + options_.spare_slots * num_ranks;
  if (num_slots > sizes.num_slots || most_slots > sizes.most_slots) {
    throw InvalidInput(
        fmt::format("the lane was made for {} experts on this rank and {} on all, not {} and {}",
                    sizes.num_slots, sizes.most_slots, num_slots, most_slots));
  }
  if (options_.needs_selection() && !sizes.needs_selection)
    throw InvalidInput("a layer with the overflow policy next-choice has a lane that is made for it");
  if (options_.capacity) check_capacity(*options_.capacity);
  if (arrangement_.alignment == 0) throw InvalidInput("rows are aligned to multiples of 1 or more");
  if (arrangement_.order == RowOrder::by_source) {
    if (options_.combine != Combine::fast)
      throw InvalidInput("rows by source come back as sums: their layer combines fast");
    if (arrangement_.capacity > 0 && arrangement_.capacity < sizes.max_tokens)
      throw InvalidInput(fmt::format("rows by source need room for all {} tokens of a rank, not {}",
                                     sizes.max_tokens, arrangement_.capacity));
  }
  if (function_ && spec_.has_shared_expert())
    throw InvalidInput("a layer whose experts are a caller's function has no shared expert");
  if (function_ && options_.can_migrate())
    throw InvalidInput("a layer whose experts are a caller's function has no spare and no staging slots");
  const std::string reason = reason_against_devices(options_);
  if (!reason.empty()) throw InvalidInput(reason);
  if (engine_.verify() == VerifyLevel::audit && (function_ || options_.combine == Combine::fast))
    throw InvalidInput(
        "on devices audited steps are of a layer's own experts, combined reproducibly, so far");
  if (spec_.num_experts + spec_.router.num_groups > most_scores)
    throw InvalidInput(fmt::format("on devices a layer has at most {} experts and groups", most_scores));
  if (sizes.max_assignments() * num_ranks > most_assignments)
    throw InvalidInput(fmt::format("on devices a step has at most {} assignments", most_assignments));
}

StepHeader DeviceLayer::header(Operation operation, const Placement& placement) const {
  StepHeader header;
  const auto add = [&](const char* name, auto value) { header.add(name, static_cast<std::int64_t>(value)); };
  add("protocol version", protocol_version);
  add("operation (0: construct a layer, 1: run a step, 2: run a round, 3: migrate)", operation);
  add("layer", number_);
  add("step", engine_.num_started());
  add("kind of device (1: emulated, 2: GPU)", lane_.device().is_emulated() ? 1 : 2);
  header.add(spec_);
  header.add(options_);
  add("own expert function", static_cast<bool>(function_));
  add("capacity of rows' arrangement", arrangement_.capacity);
  add("alignment of rows", arrangement_.alignment);
  add("order of rows (0: by slot, 1: by source)", arrangement_.order);
  add("most tokens of a rank", lane_.sizes().max_tokens);
  add("placement epoch", placement.epoch());
  add("placement (its digest)", placement.digest());
  add("split of the step before (its digest)", last_split_);
  add("verification level", engine_.verify());
  return header;
}

void DeviceLayer::forward(TokenRows x, std::span<float> y) {
  Tokens tokens;
  tokens.on_host = x;
  tokens.y_on_host = y;
  forward_on_host(tokens);
}

void DeviceLayer::forward(TokenRows x, const Routing& routing, std::span<float> y) {
  Tokens tokens;
  tokens.on_host = x;
  tokens.y_on_host = y;
  tokens.given = &routing;
  forward_on_host(tokens);
}

void DeviceLayer::forward(const std::byte* x, std::size_t num_tokens, float* y, const Routing* given) {
  Tokens tokens;
  tokens.x = x;
  tokens.y = y;
  tokens.count = num_tokens;
  tokens.given = given;
  run(tokens);
}

void DeviceLayer::forward_on_host(const Tokens& given) {
  Tokens tokens = given;
  tokens.x = lane_.memory().x;
  tokens.y = lane_.memory().y;
  tokens.count = tokens.y_on_host.size() / spec_.expert.hidden;
  run(tokens);
}

DeviceLayer::~DeviceLayer() {
  if (!lane_.let_go()) keep_until_exit(std::move(weights_), std::move(arranged_), std::move(migration_));
}

}  // namespace moewe
