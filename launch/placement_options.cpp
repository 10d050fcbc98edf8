#include "launch/placement_options.hpp"

#include "runtime/chunk_carrier.hpp"

namespace moewe {
namespace {

constexpr std::size_t max_spare_slots = 65536;

/// Chunks as small as these are mostly headers; more than the others cannot be under way.
void check_budget(std::size_t bytes) {
  constexpr std::size_t least = 4096;
  constexpr std::size_t most = ChunkCarrier::window * ChunkCarrier::most_payload;
  if (bytes == 0 || (bytes >= least && bytes <= most)) return;
  throw InvalidInput(
      fmt::format("--migration-budget must be from {} to {} bytes, not {}", least, most, bytes));
}

void parse_rebalance_options(const OptionValues& values, RunOptions& options) {
  options.rebalance = parse_rebalance(find_text(values, "rebalance").value_or("off"));
  require_with(values, options.rebalance.is_on(), "--rebalance auto or every:N",
               {"migration-budget", "measure", "cost"});
  parse_measure(find_text(values, "measure").value_or("off"), options.rebalance);
  options.cost = find_text(values, "cost");
  options.rebalance.spare_slots =
      find_number(values, "spare-slots", 0, max_spare_slots).value_or(options.rebalance.is_on() ? 1 : 0);
  const bool names_budget = find_text(values, "migration-budget").value_or("auto") != "auto";
  options.rebalance.budget_bytes = names_budget ? find_bytes(values, "migration-budget").value_or(0) : 0;
  options.exchange.needs_links = options.rebalance.is_on() && !names_budget;
  options.layer.staging_slots = options.rebalance.is_on() ? 1 : 0;
  check_budget(options.rebalance.budget_bytes);
  if (options.resume && options.rebalance.is_on() && options.layer.combine == Combine::fast) {
    throw InvalidInput(
        "--resume and --rebalance contradict each other with --combine fast, whose sums depend on where "
        "experts were");
  }
}

}  // namespace

void parse_placement_options(const OptionValues& values, RunOptions& options) {
  options.placement = find_text(values, "placement");
  if (options.placement == "contiguous") options.placement.reset();
  options.loads = find_text(values, "loads");
  options.plans_placement = options.loads && values.count("placement") == 0;
  options.save_placement = find_text(values, "save-placement");
  options.save_loads = find_text(values, "save-loads");
  parse_rebalance_options(values, options);
}

}  // namespace moewe
