#include "placement/rebalance_decision.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <xxhash.h>

#include "placement/wide.hpp"

namespace moewe {
namespace {

constexpr double million = 1e6;

/// Whether `a` saves more for each of its bytes.
bool is_better(const RebalanceDecision& a, const RebalanceDecision& b) {
  return wide(a.saving) * std::max<std::uint64_t>(b.bytes, 1) >
         wide(b.saving) * std::max<std::uint64_t>(a.bytes, 1);
}

std::string text_of_cost(std::int64_t cost, bool is_in_time) {
  if (is_in_time) return fmt::format("{:.3f} us", static_cast<double>(cost) / million);
  return fmt::format("{:.3f} assignments", static_cast<double>(cost) / 1e3);
}

std::string figures_of(const RebalanceDecision& decision) {
  return fmt::format(
      "imbalance {:.4f} -> {:.4f} by {} experts, {} bytes in {} steps; saves {} per step for {} steps, costs "
      "{}",
      static_cast<double>(decision.imbalance) / million, static_cast<double>(decision.predicted) / million,
      decision.moves, decision.bytes, decision.move_steps, text_of_cost(decision.saving, decision.is_in_time),
      decision.expected_life, text_of_cost(decision.cost, decision.is_in_time));
}

}  // namespace

const char* name_of(RebalanceReason reason) {
  constexpr std::array names{"move",          "off",           "disabled", "moving",   "dwelling",
                             "between plans", "too few steps", "noise",    "balanced", "no better plan",
                             "not worth it"};
  return names[static_cast<std::size_t>(reason)];
}

std::uint64_t RebalanceDecision::digest() const {
  const std::array<std::uint64_t, 14> words{step,
                                            layer,
                                            static_cast<std::uint64_t>(reason),
                                            is_in_time ? 1U : 0U,
                                            static_cast<std::uint64_t>(imbalance),
                                            static_cast<std::uint64_t>(predicted),
                                            static_cast<std::uint64_t>(saving),
                                            expected_life,
                                            static_cast<std::uint64_t>(cost),
                                            moves,
                                            bytes,
                                            move_steps,
                                            misses,
                                            plan ? plan->digest() : 0};
  return XXH3_64bits(words.data(), sizeof(words));
}

std::string to_text(const RebalanceDecision& decision) {
  std::string text =
      fmt::format("step {}, layer {}: {}", decision.step, decision.layer, name_of(decision.reason));
  if (decision.predicted > 0) {
    text += "; " + figures_of(decision);
  } else if (decision.imbalance > 0) {
    text += fmt::format("; imbalance {:.4f}", static_cast<double>(decision.imbalance) / million);
  }
  return decision.note.empty() ? text : text + "; " + decision.note;
}

std::vector<std::size_t> choose_layers(std::span<const RebalanceDecision> decisions,
                                       std::uint64_t most_bytes) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < decisions.size(); ++i) {
    if (decisions[i].is_move()) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return is_better(decisions[a], decisions[b]); });
  std::vector<std::size_t> chosen;
  std::uint64_t left = most_bytes;
  for (const std::size_t i : order) {
    if (decisions[i].bytes > left && !chosen.empty()) continue;
    left -= std::min(left, decisions[i].bytes);
    chosen.push_back(i);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace moewe
