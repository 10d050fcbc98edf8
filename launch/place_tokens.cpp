#include "launch/place_tokens.hpp"

#include "comm/error.hpp"
#include "launch/load_file.hpp"

namespace moewe {
namespace {

TokenChoices read_choices(const Trace& trace, std::size_t layer) {
  TokenChoices choices{std::vector<ExpertId>(trace.num_tokens() * trace.top_k()), trace.top_k()};
  std::vector<float> weights(choices.experts.size());
  trace.read({layer, 0, trace.num_tokens()}, {0, trace.num_tokens()}, choices.experts, weights);
  return choices;
}

const std::filesystem::path& with_tokens(const std::filesystem::path& loads) {
  if (is_trace(loads)) return loads;
  throw InvalidInput(loads.string() +
                     ": --co-activation needs what each token chose, a trace, but these are counts");
}

}  // namespace

PlaceTokens::PlaceTokens(const std::filesystem::path& loads,
                         const std::optional<std::filesystem::path>& score, std::size_t num_experts)
    : planned_(with_tokens(loads), num_experts), num_experts_(num_experts) {
  if (score && is_trace(*score)) judged_.emplace(*score, num_experts);
}

CoActivation PlaceTokens::co_activation(std::size_t layer) const {
  CoActivation pairs(num_experts_);
  const TokenChoices choices = read_choices(planned_, layer);
  pairs.add(choices.experts, choices.top_k);
  return pairs;
}

TokenChoices PlaceTokens::judged(std::size_t layer) const {
  return read_choices(judged_ ? *judged_ : planned_, layer);
}

}  // namespace moewe
