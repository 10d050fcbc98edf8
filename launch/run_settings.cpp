#include <fmt/format.h>
#include <fmt/ranges.h>

#include "launch/options.hpp"
#include "launch/run_choices.hpp"

namespace moewe {
namespace {

template <typename T>
std::string number(const char* name, const std::optional<T>& value) {
  return fmt::format("--{} {}", name, value ? std::to_string(*value) : "(default)");
}

/// Ranks may have the same file under different names.
std::string file(const char* name, const std::optional<std::filesystem::path>& given) {
  return fmt::format("--{} {}", name, given ? "FILE" : "(none)");
}

}  // namespace

std::vector<std::string> RunOptions::shared_settings() const {
  const LayerSpec custom = model.custom.value_or(LayerSpec{});
  return {file("checkpoint", model.checkpoint),
          fmt::format("--model {}", model.custom ? "custom" : model.preset.value_or("(none)")),
          fmt::format("--hidden {}", custom.expert.hidden),
          fmt::format("--intermediate {}", custom.expert.intermediate),
          fmt::format("--experts {}", custom.num_experts),
          fmt::format("--topk {}", custom.router.top_k),
          fmt::format("--activation {}", name_of(activation_choices, custom.expert.activation)),
          fmt::format("--two-matrix {}", !custom.expert.gated),
          fmt::format("--layers {}", layers ? fmt::format("{}", fmt::join(*layers, ",")) : "(default)"),
          number("tokens", tokens),
          number("tokens-per-rank", tokens_per_rank),
          fmt::format("--steps {}", steps),
          fmt::format("--seed {}", seed),
          fmt::format("--routing {}", routing.trace ? "trace:FILE" : describe(routing)),
          fmt::format("--dtype {}", name_of(layer.dtype)),
          fmt::format("--combine {}", name_of(layer.combine)),
          layer.capacity ? describe(layer.capacity) : "--capacity-factor (none)",
          number("memory-limit", memory_limit),
          fmt::format("--path {}", name_of(path_choices, exchange.path)),
          fmt::format("--carrier {}", name_of(carrier_choices, exchange.carrier)),
          fmt::format("--calibrate {}", name_of(exchange.calibrate)),
          fmt::format("--overlap {}", name_of(overlap)),
          fmt::format("--verify {}", name_of(verify)),
          fmt::format("--split {}", name_of(split_choices, layer.split)),
          fmt::format("--device {}", name_of(device_choices, device)),
          fmt::format("--device-mode {}", name_of(device_mode)),
          fmt::format("--timeout {}", timeout_s),
          fmt::format("--placement {}", placement         ? "FILE"
                                        : plans_placement ? "(planned)"
                                                          : "contiguous"),
          file("loads", loads),
          file("save-placement", save_placement),
          file("save-loads", save_loads),
          fmt::format("--rebalance {}", describe(rebalance)),
          fmt::format("--measure {}", describe_measure(rebalance)),
          file("cost", cost),
          fmt::format("--spare-slots {}", rebalance.spare_slots),
          rebalance.budget_bytes == 0 ? "--migration-budget auto"
                                      : fmt::format("--migration-budget {}", rebalance.budget_bytes),
          file("input", input),
          file("output", output),
          fmt::format("--resume {}", resume),
          file("json", json),
          file("timeline", timeline)};
}

std::string describe(const std::optional<CapacityOptions>& capacity) {
  if (!capacity) return "none (dropless)";
  return fmt::format("--capacity-factor {} --capacity-rule {} --overflow {}{}{}", capacity->factor,
                     name_of(capacity->rule), name_of(capacity->policy),
                     capacity->renormalise ? " --renormalise" : "",
                     capacity->is_fair ? " --fair-capacity" : "");
}

}  // namespace moewe
