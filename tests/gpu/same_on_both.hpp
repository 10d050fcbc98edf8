#pragma once

#include <cstdio>
#include <cstring>
#include <vector>

#include "tests/gpu/activate_run.hpp"
#include "tests/gpu/arrange_run.hpp"
#include "tests/gpu/arrival_run.hpp"
#include "tests/gpu/checksum_run.hpp"
#include "tests/gpu/combine_run.hpp"
#include "tests/gpu/guard_run.hpp"
#include "tests/gpu/multiply_run.hpp"
#include "tests/gpu/plan_run.hpp"
#include "tests/gpu/quantise_run.hpp"
#include "tests/gpu/route_run.hpp"
#include "tests/gpu/sources_run.hpp"
#include "tests/gpu/sums_run.hpp"

namespace moewe::test {

// Whether two devices yield the same bytes; padding does not count.

template <typename T>
bool is_same(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

inline bool is_same(const PlanResult& a, const PlanResult& b) {
  return is_same(a.slots, b.slots) && is_same(a.first_row, b.first_row) &&
         is_same(a.first_assignment, b.first_assignment) && is_same(a.tokens, b.tokens) &&
         is_same(a.planned, b.planned) && is_same(a.pushed, b.pushed);
}

inline bool is_same(const ArrivalResult& a, const ArrivalResult& b) {
  return is_same(a.first_row, b.first_row) && is_same(a.inputs, b.inputs) && is_same(a.outputs, b.outputs) &&
         is_same(a.addresses, b.addresses);
}

inline bool is_same(const SumsResult& a, const SumsResult& b) {
  return is_same(a.sums, b.sums) && is_same(a.addresses, b.addresses);
}

inline bool is_same(const SourcesResult& a, const SourcesResult& b) {
  return is_same(a.rows, b.rows) && is_same(a.choices, b.choices) && is_same(a.weights, b.weights) &&
         is_same(a.first_place, b.first_place) && is_same(a.counts, b.counts) &&
         is_same(a.computed, b.computed) && is_same(a.returned, b.returned);
}

inline bool is_same(const ArrangeResult& a, const ArrangeResult& b) {
  return is_same(a.rows, b.rows) && is_same(a.first_place, b.first_place) && is_same(a.counts, b.counts) &&
         is_same(a.returned, b.returned);
}

inline bool is_same(const LogitsResult& a, const LogitsResult& b) {
  return is_same(a.logits, b.logits) && is_same(a.bad_token, b.bad_token);
}

inline bool is_same(const RouteResult& a, const RouteResult& b) {
  return is_same(a.selection, b.selection) && is_same(a.scores, b.scores) && is_same(a.experts, b.experts) &&
         is_same(a.weights, b.weights);
}

inline bool is_same(const QuantiseResult& a, const QuantiseResult& b) {
  return is_same(a.quantised, b.quantised) && is_same(a.scales, b.scales) && is_same(a.back, b.back) &&
         is_same(a.pushed, b.pushed);
}

/// None of it has padding.
inline bool is_same(const GuardResult& a, const GuardResult& b) {
  return is_same(std::vector{a.state}, std::vector{b.state}) && is_same(a.words, b.words) &&
         is_same(a.records, b.records);
}

/// Where sums are rounded in another way, values are near: activated ones, of sums below 10.
inline bool is_same(const MultiplyResult& a, const MultiplyResult& b) {
  if (!is_same(a.computed, b.computed) || a.size() != b.size()) return false;
  if (a.is_exact && b.is_exact) return is_same(a.outputs, b.outputs);
  const float relative = a.dtype == Dtype::bf16 ? 0x1p-7F : 1e-5F;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!(std::abs(a.at(i) - b.at(i)) <= relative * std::abs(b.at(i)) + 1e-4F)) return false;
  }
  return true;
}

/// How many of a kernel's cases yield other bytes on the device than from the twin.
struct Comparison {
  const char* kernels;
  std::size_t num_cases;
  std::size_t num_different;
};

template <typename Case>
Comparison compare(const char* kernels, const std::vector<Case>& cases, Device& device, Device& twin) {
  Comparison comparison{kernels, cases.size(), 0};
  for (const Case& c : cases) {
    if (!is_same(run(c, device), run(c, twin))) ++comparison.num_different;
  }
  return comparison;
}

inline std::vector<Comparison> compare_all(Device& device, Device& twin) {
  return {
      compare("combine_tokens", combine_cases(), device, twin),
      compare("choose_slots, count_destinations, fill_plan, push_rows", plan_cases(), device, twin),
      compare("push_plan, group_rows, address_outputs", arrival_cases(), device, twin),
      compare("push_sums, address_outputs of sums", sums_cases(), device, twin),
      compare("arrange_rows, return_rows", arrange_cases(), device, twin),
      compare("arrange_sources, return_sources", sources_cases(), device, twin),
      compare("check_logits", logits_cases(), device, twin),
      compare("route_tokens", route_cases(), device, twin),
      compare("open_step, check_choices, admit_tokens, tell_ranks, close_step", guard_cases(), device, twin),
      compare("activate_rows", activate_cases(), device, twin),
      compare("multiply_rows", multiply_cases(), device, twin),
      {"multiply_rows, row by row", multiply_cases().size(), count_dependent_rows(device)},
      compare("checksum_rows", checksum_cases(), device, twin),
      compare("quantise_rows, dequantise_rows, push_quantised", quantise_cases(), device, twin)};
}

}  // namespace moewe::test
