#include "launch/wait_report.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

namespace moewe {
namespace {

std::string position_of(const RankState& state) {
  const std::string phase(state.phase.view());
  if (state.step == 0) return fmt::format("phase {}", phase);
  return fmt::format("step {}, layer {}, phase {}", state.step, state.layer, phase);
}

std::string wait_of(const RankState& state) {
  if (!state.waits()) return "computes";
  const std::string peer = state.peer < 0 ? "the others" : fmt::format("rank {}", state.peer);
  return fmt::format("waits for {} ({})", peer, state.what.view());
}

const char* name_of(Vitality vitality) {
  constexpr std::array<const char*, 5> names{"runs", "stopped", "dead", "left", "silent"};
  return names[static_cast<std::size_t>(vitality)];
}

bool is_pending(const RankState& state) { return state.vitality == Vitality::runs && state.waits(); }

HangReason reason_of(const RankState& state) {
  switch (state.vitality) {
    case Vitality::stopped:
      return HangReason::stopped;
    case Vitality::dead:
    case Vitality::left:
      return HangReason::dead;
    case Vitality::silent:
      return HangReason::unreachable;
    default:
      return HangReason::slow;
  }
}

/// Where the chain from `first` ends, unless with a wait for all alike or in a circle.
std::optional<std::size_t> end_of_chain(std::span<const RankState> states, std::size_t first) {
  std::size_t rank = first;
  for (std::size_t links = 0; links <= states.size(); ++links) {
    if (!is_pending(states[rank])) return rank;
    if (states[rank].peer < 0) return std::nullopt;
    rank = static_cast<std::size_t>(states[rank].peer);
    if (rank >= states.size()) return std::nullopt;
  }
  return std::nullopt;
}

/// Of the ranks that do not wait, the one that surely holds up all others.
std::optional<std::size_t> worst(std::span<const RankState> states) {
  constexpr std::array order{Vitality::dead, Vitality::stopped, Vitality::silent, Vitality::left,
                             Vitality::runs};
  for (const Vitality vitality : order) {
    std::optional<std::size_t> found;
    for (std::size_t rank = 0; rank < states.size(); ++rank) {
      if (states[rank].vitality != vitality || is_pending(states[rank])) continue;
      if (!found || states[rank].since_s > states[*found].since_s) found = rank;
    }
    if (found) return found;
  }
  return std::nullopt;
}

auto place_of(const RankState& state) { return std::tuple(state.step, state.layer, state.what.view()); }

/// Where all wait: the rank in the smallest group of those that wait in one place, of equal groups the one
/// that is furthest behind. None where all are in one place.
std::optional<std::size_t> odd_one(std::span<const RankState> states) {
  std::map<decltype(place_of(states.front())), std::vector<std::size_t>> groups;
  for (std::size_t rank = 0; rank < states.size(); ++rank) groups[place_of(states[rank])].push_back(rank);
  if (groups.size() == 1) return std::nullopt;
  const auto smallest = std::min_element(groups.begin(), groups.end(), [](const auto& a, const auto& b) {
    return a.second.size() < b.second.size();
  });
  return smallest->second.back();
}

/// Where all wait in one place: the rank that is waited for.
std::size_t most_awaited(std::span<const RankState> states, std::size_t first) {
  std::vector<std::size_t> num_waiting(states.size(), 0);
  for (const RankState& state : states) {
    if (state.peer >= 0 && static_cast<std::size_t>(state.peer) < states.size()) {
      ++num_waiting[static_cast<std::size_t>(state.peer)];
    }
  }
  const auto most = std::max_element(num_waiting.begin(), num_waiting.end());
  return *most == 0 ? first : static_cast<std::size_t>(most - num_waiting.begin());
}

}  // namespace

const char* name_of(HangReason reason) {
  constexpr std::array<const char*, 5> names{"stopped", "dead", "slow", "disagrees", "unreachable"};
  return names[static_cast<std::size_t>(reason)];
}

std::string describe(const RankState& state) {
  return fmt::format("rank {} on {}: {}, {}", number(state.rank), state.host.view(), position_of(state),
                     wait_of(state));
}

std::string wait_matrix(std::span<const RankState> states) {
  std::string text;
  for (const RankState& state : states) {
    const std::string rank = fmt::format("rank {} on {}", number(state.rank), state.host.view());
    if (state.vitality == Vitality::silent) {
      text += fmt::format("  {:20} silent\n", rank);
      continue;
    }
    text += fmt::format("  {:20} {:8} {}, {}, since {:.2f} s\n", rank, name_of(state.vitality),
                        position_of(state), wait_of(state), state.since_s);
  }
  return text;
}

Culprit find_culprit(std::span<const RankState> states, std::size_t first) {
  if (const auto end = end_of_chain(states, first)) return {*end, reason_of(states[*end])};
  if (const auto rank = worst(states)) return {*rank, reason_of(states[*rank])};
  if (const auto rank = odd_one(states)) return {*rank, HangReason::disagrees};
  const std::size_t awaited = most_awaited(states, first);
  const bool is_far = states[awaited].host.view() != states[first].host.view();
  return {awaited, is_far ? HangReason::unreachable : HangReason::slow};
}

}  // namespace moewe
