#include "launch/place_tokens.hpp"

#include "comm/error.hpp"
#include "launch/load_file.hpp"

namespace moewe {
namespace {

/// All choices of a layer, [tokens][top_k].
std::vector<ExpertId> choices(const Trace& trace, std::size_t layer) {
  std::vector<ExpertId> ids(trace.num_tokens() * trace.top_k());
  std::vector<float> weights(ids.size());
  trace.read({layer, 0, trace.num_tokens()}, {0, trace.num_tokens()}, ids, weights);
  return ids;
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
  pairs.add(choices(planned_, layer), planned_.top_k());
  return pairs;
}

TokenReach PlaceTokens::reach(const Placement& placement, const Topology& topology, std::size_t layer) const {
  const Trace& trace = judged_ ? *judged_ : planned_;
  return count_reach(placement, topology, choices(trace, layer), trace.top_k());
}

}  // namespace moewe
