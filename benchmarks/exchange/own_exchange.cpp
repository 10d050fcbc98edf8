#include "benchmarks/exchange/own_exchange.hpp"

#include <algorithm>

#include "benchmarks/exchange/cheap_expert.hpp"
#include "benchmarks/harness.hpp"

namespace moewe::bench {
namespace {

EngineOptions engine_options(PathRequest path) {
  EngineOptions options;
  options.exchange.path = path;
  options.lanes = 1;
  return options;
}

LayerSpec spec_of(const ExchangeCase& exchange) {
  LayerSpec spec;
  spec.expert = {.hidden = exchange.format.hidden, .intermediate = 1};
  spec.num_experts = exchange.num_experts;
  spec.router.top_k = exchange.top_k;
  return spec;
}

/// Of outputs, few enough that they stay in the cache until they are read: those for one peer by that peer;
/// to be combined fast, those for all ranks together by the rank that wrote them. The cheap expert has no use
/// for many rows, but ranks that wait for one another at every token lose time: with half of this for a peer
/// rounds took 1.7 times as long where caches are near.
std::size_t chunk_bytes_for(Combine combine, std::size_t num_ranks) {
  constexpr std::size_t for_a_peer = std::size_t{128} << 10U;
  constexpr std::size_t for_all = std::size_t{448} << 10U;  // of a common L2 cache of 1 MiB
  return combine == Combine::fast ? for_all / num_ranks : for_a_peer;
}

LayerOptions layer_options(const ExchangeCase& exchange, std::size_t num_ranks) {
  LayerOptions options;
  options.dtype = exchange.format.dtype;
  options.combine = exchange.combine;
  options.chunk_bytes = chunk_bytes_for(exchange.combine, num_ranks);
  return options;
}

ExpertFunction cheap_expert(const RowFormat& format) {
  return [format](ExpertId expert, std::span<const Row> rows) {
    for (const Row& row : rows) scale_row(factor_of(expert), row.input, row.output, format, row.stores);
  };
}

}  // namespace

RoundTrip round_trip_of(double whole, const StepReport& report) {
  const auto of = [&](Phase phase) { return report.seconds[static_cast<std::size_t>(phase)]; };
  return {whole, of(Phase::route) + of(Phase::agree) + of(Phase::plan) + of(Phase::dispatch),
          of(Phase::combine)};
}

OwnExchange::OwnExchange(Communicator& communicator, const Backend& backend, PathRequest path,
                         const ExchangeCase& exchange)
    : case_(exchange),
      engine_(communicator, backend, engine_options(path)),
      layer_(engine_, spec_of(exchange), contiguous_placement(exchange.num_experts, communicator.size()),
             cheap_expert(exchange.format), layer_options(exchange, communicator.size())),
      x_(engine_.add_token_buffer(exchange.x.size())) {
  std::copy(exchange.x.begin(), exchange.x.end(), x_.begin());
}

RoundTrip OwnExchange::run(std::span<float> y) {
  const TokenRows x(x_, case_.format.dtype);
  const double whole = seconds_of([&] { layer_.forward(x, case_.routing(), y); });
  return round_trip_of(whole, layer_.report());
}

}  // namespace moewe::bench
