#pragma once

#include "runtime/kernels/route_tokens.hpp"
#include "tests/gpu/device_work.hpp"
#include "tests/gpu/random_values.hpp"

namespace moewe::test {

struct RouteCase {
  RouteCase(std::size_t tokens, std::size_t experts, const RouterSpec& of, unsigned int seed)
      : num_tokens(tokens), num_experts(experts), spec(of) {
    Random random(seed);
    logits = draw_floats(random, num_tokens * num_experts);
    for (float& logit : logits) logit = static_cast<float>(static_cast<int>(logit * 3)) / 3;  // many equal
    if (spec.has_selection_bias) bias = draw_floats(random, num_experts, 0.5F);
  }

  std::size_t num_tokens;
  std::size_t num_experts;
  RouterSpec spec;
  std::vector<float> logits;
  std::vector<float> bias;
};

struct RouteResult {
  std::vector<float> selection;
  std::vector<float> scores;
  std::vector<ExpertId> experts;
  std::vector<float> weights;
};

inline RouteResult run(const RouteCase& c, Device& device) {
  DeviceWork work(device);
  const std::size_t num_choices = c.num_tokens * c.spec.top_k;
  const RouteTokens arguments{work.put(c.logits),
                              c.bias.empty() ? nullptr : work.put(c.bias),
                              work.room<float>(c.logits.size()),
                              work.room<float>(c.logits.size()),
                              work.room<ExpertId>(num_choices),
                              work.room<float>(num_choices),
                              known_to_one(work, static_cast<std::uint32_t>(c.num_tokens)),
                              static_cast<std::uint32_t>(c.num_experts),
                              c.spec};
  work.queue().run(route_tokens, arguments);
  return {work.get(arguments.selection, c.logits.size()), work.get(arguments.scores, c.logits.size()),
          work.get(arguments.experts, num_choices), work.get(arguments.weights, num_choices)};
}

inline std::vector<RouteCase> route_cases() {
  RouterSpec mixtral;
  mixtral.top_k = 2;
  RouterSpec deepseek;
  deepseek.top_k = 8;
  deepseek.score = Score::sigmoid;
  deepseek.has_selection_bias = true;
  deepseek.num_groups = 8;
  deepseek.kept_groups = 4;
  deepseek.group_score = GroupScore::sum_of_two_largest;
  deepseek.scale = 2.5F;
  RouterSpec grouped = deepseek;
  grouped.score = Score::softmax;
  grouped.has_selection_bias = false;
  grouped.renormalise = false;
  grouped.top_k = 3;
  grouped.num_groups = 3;
  grouped.kept_groups = 1;
  grouped.group_score = GroupScore::largest;
  RouterSpec all = mixtral;
  all.top_k = 5;
  std::vector<RouteCase> cases;
  cases.emplace_back(0, 8, mixtral, 1);
  cases.emplace_back(100, 8, mixtral, 2);
  cases.emplace_back(100, 256, deepseek, 3);
  cases.emplace_back(100, 33, grouped, 4);
  cases.emplace_back(100, 5, all, 5);
  return cases;
}

}  // namespace moewe::test
