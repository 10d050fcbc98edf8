#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <utility>

#include "comm/together.hpp"
#include "runtime/layer_memory.hpp"
#include "runtime/model_config.hpp"
#include "runtime/moe_layer.hpp"

namespace moewe {
namespace {

/// Throws InvalidInput for a placement of something else.
void check_placement(const LayerSpec& spec, const Placement& placement, std::size_t num_ranks) {
  if (placement.num_ranks() != num_ranks || placement.num_experts() != spec.num_experts) {
    throw InvalidInput(fmt::format("the placement is of {} experts on {} ranks, the layer of {} on {}",
                                   placement.num_experts(), placement.num_ranks(), spec.num_experts,
                                   num_ranks));
  }
}

}  // namespace

MoeLayer::MoeLayer(Engine& engine, const LayerSpec& spec, Placement placement, const WeightSource& source,
                   const LayerOptions& options)
    : engine_(engine), spec_(spec), options_(options), number_(engine.num_layers()) {
  construct(std::move(placement), &source);
}

MoeLayer::MoeLayer(Engine& engine, const LayerSpec& spec, Placement placement, ExpertFunction experts,
                   const LayerOptions& options)
    : engine_(engine),
      spec_(spec),
      options_(options),
      function_(std::move(experts)),
      number_(engine.num_layers()) {
  construct(std::move(placement), nullptr);
}

void MoeLayer::construct(Placement placement, const WeightSource* source) {
  Communicator& communicator = engine_.communicator();
  StepProposal proposal;
  proposal.header = header(Operation::construct_layer, placement, engine_.num_started());
  proposal.counts_length = engine_.max_counts();
  try {
    check_layer_spec(spec_, "a layer");
    if (options_.capacity) check_capacity(*options_.capacity);
    check_placement(spec_, placement, communicator.size());
    if (source == nullptr && !function_) throw InvalidInput("a layer needs weights or an expert function");
    if (source == nullptr && options_.can_migrate())
      throw InvalidInput("a layer whose experts are a caller's function has no spare and no staging slots");
    if (options_.split == SplitMode::stored && options_.capacity)
      throw InvalidInput(
          "a layer with a capacity splits exactly: what it drops is known once all have agreed");
  } catch (...) {
    proposal.failure = std::current_exception();
  }
  agree(communicator, std::move(proposal));
  if (options_.can_migrate()) engine_.require_chunk_carrier();
  together(communicator, [&] {
    SlotTable slots = source != nullptr ? load(placement, *source) : SlotTable{};
    epoch_ = make_epoch(std::move(placement), std::move(slots));
  });
  prepare_migration();
  engine_.add_layer(most_counts());
}

/// Of any placement that the layer can come to have: per slot, or per expert and source. More source counts
/// than some take longer in the agreement than by themselves.
std::size_t MoeLayer::most_counts() const {
  constexpr std::size_t most_sources = 256;
  const std::size_t num_ranks = engine_.communicator().size(), num_experts = spec_.num_experts;
  const std::size_t num_slots = placement().num_slots() + options_.spare_slots * num_ranks;
  if (options_.capacity) return num_slots;
  const std::size_t sources = most_source_counts(num_ranks, num_experts, num_slots - num_experts);
  return std::max(num_slots, num_experts + std::min(sources, most_sources));
}

std::shared_ptr<const LayerEpoch> MoeLayer::make_epoch(Placement placement, SlotTable slots) const {
  WeightAudit audited = weight_audit(placement, slots);
  return std::make_shared<const LayerEpoch>(
      LayerEpoch{std::move(placement), std::move(slots), std::move(audited)});
}

SlotTable MoeLayer::load(const Placement& placement, const WeightSource& source) {
  experts_.emplace(spec_.expert, options_.dtype, options_.dtype, engine_.matmuls());
  experts_->test();  // before weights take memory
  // All of it before anything is unpacked, so that what is planned does not depend on the order of loading.
  engine_.workspace().reserve(std::max(experts_->scratch_bytes(), Router::scratch_bytes_for(spec_)));
  if (spec_.has_shared_expert()) {
    shared_expert_.emplace(spec_.shared_expert(), options_.dtype, Dtype::f32, engine_.matmuls());
    shared_expert_->test();
    engine_.workspace().reserve(shared_expert_->scratch_bytes());
  }
  load_router(source);
  if (spec_.has_shared_expert()) load_shared_expert(source);
  const auto experts = placement.experts_of(engine_.communicator().rank());
  const bool is_audited = engine_.verify() == VerifyLevel::audit;
  pool_ = std::make_unique<SlotPool>(*experts_, engine_.memory(),
                                     experts.size() + options_.spare_slots + options_.staging_slots,
                                     SlotPoolOptions{.takes_checksums = is_audited || options_.can_migrate(),
                                                     .spoils_free_slots = is_audited});
  return load_experts(*experts_, engine_.memory(), source, experts, *pool_);
}

void MoeLayer::load_router(const WeightSource& source) {
  const std::size_t num_values = spec_.num_experts * spec_.expert.hidden;
  const auto matmul = engine_.matmuls().get(spec_.expert.hidden, spec_.num_experts);
  matmul->rows();  // tested before weights take memory
  Buffer unpacked(engine_.memory(), loading_name, num_values * sizeof(float));
  source.read_router(unpacked.as<float>(num_values));
  std::vector<float> bias(spec_.router.has_selection_bias ? spec_.num_experts : 0);
  if (!bias.empty()) source.read_selection_bias(bias);
  router_.emplace(spec_.router, matmul, engine_.memory(), unpacked.as<float>(num_values), bias);
}

void MoeLayer::load_shared_expert(const WeightSource& source) {
  const std::size_t length = shared_expert_->num_weights();
  Buffer unpacked(engine_.memory(), loading_name, length * sizeof(float));
  const ExpertMatrices matrices = shared_expert_->matrices_in(unpacked.as<float>(length));
  source.read_shared_expert(matrices);
  shared_weights_ = shared_expert_->pack(engine_.memory(), shared_expert_weights_name, matrices);
}

WeightAudit MoeLayer::weight_audit(const Placement& placement, const SlotTable& slots) const {
  WeightAudit audit;
  if (engine_.verify() != VerifyLevel::audit) return audit;
  const Rank self = engine_.communicator().rank();
  const auto name = [&](const std::string& what) {
    return fmt::format("layer {}: the weights of {} on rank {}", number_, what, number(self));
  };
  const auto pieces = [](const ExpertWeights& weights) {
    const auto bytes = weights.bytes();
    return std::vector<std::span<const std::byte>>(bytes.begin(), bytes.end());
  };
  if (router_) audit.add(name("the router"), router_->bytes());
  if (shared_expert_) audit.add(name("the shared expert"), pieces(shared_weights_));
  for (std::size_t slot = 0; slot < slots.slots.size(); ++slot) {
    const ExpertWeights& weights = *slots.slots[slot];
    audit.add(name(fmt::format("expert {}", number(placement.experts_of(self)[slot]))), pieces(weights),
              weights.checksum);
  }
  return audit;
}

void MoeLayer::migrate(Placement next, const MigrationOptions& options) {
  MigrationPlan plan;
  StepProposal proposal;
  proposal.header = header(Operation::migrate, next, engine_.num_started());
  proposal.counts_length = engine_.max_counts();
  try {
    check_placement(spec_, next, engine_.communicator().size());
    check_can_migrate(options);
    plan = plan_migration(placement(), next, engine_.communicator().topology());
    check_migration(room_, placement(), next, plan);
    add_migration(plan, options, proposal.header);
  } catch (...) {
    proposal.failure = std::current_exception();
  }
  agree(engine_.communicator(), std::move(proposal));
  migration_->begin({epoch_, std::move(next), std::move(plan), options});
}

std::optional<Matmul::Rows> MoeLayer::matmul_rows() const {
  return experts_ ? std::optional(experts_->rows()) : std::nullopt;
}

void MoeLayer::check_sizes(const LayerStep& step) const {
  const std::size_t hidden = spec_.expert.hidden;
  if (step.x.dtype != options_.dtype) {
    throw InvalidInput(fmt::format("layer {}: rows are {}, but the layer runs in {}", number_,
                                   name_of(step.x.dtype), name_of(options_.dtype)));
  }
  const std::size_t num_inputs = step.x.bytes.size() / bytes_of(options_.dtype);
  if (num_inputs % hidden != 0 || step.y.size() != num_inputs) {
    throw InvalidInput(fmt::format("layer {}: {} input and {} output values are not both [num_tokens, {}]",
                                   number_, num_inputs, step.y.size(), hidden));
  }
  constexpr std::size_t max_tokens = std::numeric_limits<std::int32_t>::max();
  if (num_inputs / hidden > max_tokens) {
    throw InvalidInput(fmt::format("layer {}: {} tokens on one rank are more than {}", number_,
                                   num_inputs / hidden, max_tokens));
  }
}

void MoeLayer::check_given(const LayerStep& step, const Routing& given) const {
  if (given.num_tokens != step.num_tokens || given.top_k != spec_.router.top_k) {
    throw InvalidInput(fmt::format("layer {}: routing of {} tokens with top-{} for {} tokens with top-{}",
                                   number_, given.num_tokens, given.top_k, step.num_tokens,
                                   spec_.router.top_k));
  }
  if (options_.needs_selection()) check_selection(given, spec_.num_experts, number_);
}

StepHeader MoeLayer::header(Operation operation, const Placement& placement, std::uint64_t step) const {
  StepHeader header;
  const auto add = [&](const char* name, auto value) { header.add(name, static_cast<std::int64_t>(value)); };
  add("protocol version", protocol_version);
  add("operation (0: construct a layer, 1: run a step, 2: run a round, 3: migrate)", operation);
  add("layer", number_);
  add("step", step);
  header.add(spec_);
  header.add(options_);
  add("own expert function", static_cast<bool>(function_));
  add("placement epoch", placement.epoch());
  add("placement (its digest)", placement.digest());
  add("split of the step before (its digest)", last_split_);
  add("verification level", engine_.verify());
  add("memory limit", engine_.has_memory_limit());
  return header;
}

void MoeLayer::plan_routing_memory(const LayerStep& step, MemoryPlan& memory) const {
  const std::size_t top_k = spec_.router.top_k;
  const Lane& lane = *step.lane;
  if (step.is_routed_here) lane.routed.plan_memory(step.num_tokens, top_k, spec_.num_experts, memory);
  if (step.is_decided) lane.decided.plan_memory(step.num_tokens, top_k, 0, memory);
}

Error MoeLayer::does_not_fit(const LayerStep& step, const StepBounds& bounds) const {
  const std::size_t rounds = std::max<std::size_t>(1, bounds.most_tokens_of_rank);
  const std::size_t least = most_round_bytes(*step.lane, bounds, rounds);
  return Error(ErrorKind::invalid_input,
               fmt::format("layer {}: even rounds of one token need {} bytes, and the memory limit leaves {}",
                           number_, least, engine_.lane_budget()));
}

}  // namespace moewe
