#include "runtime/halves.hpp"

#include "comm/error.hpp"
#include "comm/together.hpp"

namespace moewe {
namespace {

/// A whole step's arguments.
struct Batch {
  TokenRows x;
  const Routing* routing;
  std::span<float> y;
};

LayerStep start(MoeLayer& layer, const Batch& batch) {
  return batch.routing != nullptr ? layer.start(batch.x, *batch.routing, batch.y)
                                  : layer.start(batch.x, batch.y);
}

/// Whether x, routing and y are of as many tokens, so that they can be cut.
bool can_be_cut(const MoeLayer& layer, const Batch& batch) {
  const std::size_t hidden = layer.spec().expert.hidden;
  const std::size_t num_tokens = batch.y.size() / hidden;
  return batch.y.size() % hidden == 0 &&
         batch.x.bytes.size() == batch.y.size() * bytes_of(layer.options().dtype) &&
         (batch.routing == nullptr || batch.routing->num_tokens == num_tokens);
}

LayerStep start_part(MoeLayer& layer, const Batch& batch, TokenRange tokens) {
  if (!can_be_cut(layer, batch)) return start(layer, batch);  // which tells all ranks what is wrong
  const std::size_t hidden = layer.spec().expert.hidden;
  const Routing routing =
      batch.routing != nullptr ? batch.routing->tokens(tokens.first, tokens.count) : Routing{};
  return start(layer, {batch.x.rows(tokens.first, tokens.count, hidden * bytes_of(layer.options().dtype)),
                       batch.routing != nullptr ? &routing : nullptr,
                       batch.y.subspan(tokens.first * hidden, tokens.count * hidden)});
}

}  // namespace

HalvesOutcome forward_in_halves(MoeLayer& layer, TokenRows x, const Routing* routing, std::span<float> y) {
  if (layer.options().capacity) {
    throw Error(ErrorKind::invalid_input,
                "a step whose capacity is bounded cannot run in halves: the bound is for all of its tokens",
                ErrorScope::shared);
  }
  const Batch batch{x, routing, y};
  const auto halves = halves_of(y.size() / layer.spec().expert.hidden);
  HalvesOutcome outcome;
  LayerStep first = start_part(layer, batch, halves[0]);
  LayerStep second;
  try {
    second = start_part(layer, batch, halves[1]);
  } catch (...) {
    if (is_shared(std::current_exception())) layer.finish(first);  // on all ranks: the engine stays usable
    throw;
  }
  layer.compute(first);
  layer.compute(second);
  layer.finish(first);
  outcome.routings[0] = layer.routing();
  outcome.report = layer.report();
  layer.finish(second);
  outcome.routings[1] = layer.routing();
  outcome.report.add(layer.report());
  return outcome;
}

}  // namespace moewe
