#include "launch/bench_cases.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <memory>

#include "benchmarks/exchange/classic_exchange.hpp"
#include "benchmarks/exchange/expected_sums.hpp"
#include "benchmarks/exchange/limit.hpp"
#include "benchmarks/exchange/own_exchange.hpp"
#include "comm/together.hpp"
#include "launch/bench_rows.hpp"
#include "launch/options.hpp"
#include "launch/routing_source.hpp"
#include "launch/run_choices.hpp"
#include "launch/token_range.hpp"

namespace moewe {
namespace {

/// One of the crossed lists' cases.
struct CaseChoice {
  std::size_t tokens_per_rank;
  std::size_t hidden;
  std::string routing;
  Combine combine;
};

std::vector<CaseChoice> cross(const BenchOptions& options) {
  std::vector<CaseChoice> choices;
  for (const std::size_t tokens : options.tokens_per_rank) {
    for (const std::size_t hidden : options.hidden) {
      for (const std::string& routing : options.routings) {
        for (const Combine combine : options.combines) choices.push_back({tokens, hidden, routing, combine});
      }
    }
  }
  return choices;
}

ModelConfig model_of(const BenchOptions& options, std::size_t hidden) {
  ModelConfig model;
  model.name = "bench";
  model.num_layers = 1;
  model.moe_layers = {0};
  model.layer.expert = {.hidden = hidden, .intermediate = 1};
  model.layer.num_experts = options.experts;
  model.layer.router.top_k = options.top_k;
  return model;
}

/// Local. This rank's part.
bench::ExchangeCase make_case(const Communicator& communicator, const BenchOptions& options,
                              const CaseChoice& choice) {
  const std::size_t num_tokens = choice.tokens_per_rank * communicator.size();
  const TokenRange tokens = tokens_of_rank(num_tokens, communicator.size(), communicator.rank());
  const ModelConfig model = model_of(options, choice.hidden);
  RunOptions run;
  run.routing = parse_routing(choice.routing);
  run.seed = options.seed;
  const auto routing = open_routing(run, model, {0});
  bench::ExchangeCase exchange{.num_tokens = tokens.count,
                               .top_k = options.top_k,
                               .num_experts = options.experts,
                               .format = {choice.hidden, options.dtype},
                               .combine = choice.combine,
                               .x = bench_rows(GeneratedTokens(options.seed, num_tokens, choice.hidden),
                                               tokens, model.layer, options.dtype),
                               .experts = std::vector<ExpertId>(tokens.count * options.top_k),
                               .weights = std::vector<float>(tokens.count * options.top_k)};
  routing->read(0, 0, num_tokens, tokens, exchange.experts, exchange.weights);
  return exchange;
}

/// Contestants of one case, which they borrow.
class Field {
 public:
  /// Collective.
  Field(Communicator& communicator, const std::vector<Backend>& carriers, const bench::ExchangeCase& exchange,
        const bench::Traffic& traffic)
      : limit_(std::max<std::size_t>(1, traffic.least_bytes_of(communicator.rank(), exchange) / 2)) {
    for (const char* name : {"limit", "limit again"}) {
      contestants_.push_back({name,
                              [this](std::span<float>) {
                                return bench::RoundTrip{limit_.run(), 0, 0};
                              },
                              false});
    }
    const Topology& topology = communicator.topology();
    const auto wire = [&](const bench::TrafficMatrix& matrix) {
      return bench::bytes_on_wire(matrix, topology);
    };
    const std::size_t own = wire(traffic.rows) + wire(traffic.returned(exchange.combine));
    const bool is_one_node = topology.num_nodes() == 1;
    const std::size_t rows = bench::bytes_between_nodes(traffic.node_rows, topology);
    const std::size_t two_level = rows + (exchange.combine == Combine::fast ? rows : wire(traffic.choices));
    if (is_one_node) add_own("direct", communicator, carriers.front(), PathRequest::direct, exchange, own);
    for (const Backend& backend : carriers) {
      if (!is_one_node) {
        add_own(contestant_name("two-level", backend.carrier), communicator, backend, PathRequest::two_level,
                exchange, two_level);
      }
      add_own(contestant_name("message", backend.carrier), communicator, backend, PathRequest::message,
              exchange, own);
    }
    if (carriers.front().carrier == "loopback") return;  // MPI's all-to-all is for processes
    classic_ = std::make_unique<bench::ClassicExchange>(exchange);
    contestants_.push_back({"classic", [this](std::span<float> y) { return classic_->run(y); }, true});
    bytes_on_wire_.push_back(2 * wire(traffic.choices));
  }

  std::span<const bench::RoundContestant> contestants() const { return contestants_; }

  /// Of what is no limit.
  const std::vector<std::size_t>& bytes_on_wire() const { return bytes_on_wire_; }

 private:
  void add_own(const std::string& name, Communicator& communicator, const Backend& backend, PathRequest path,
               const bench::ExchangeCase& exchange, std::size_t bytes) {
    own_.push_back(std::make_unique<bench::OwnExchange>(communicator, backend, path, exchange));
    bench::OwnExchange* own = own_.back().get();
    contestants_.push_back({name, [own](std::span<float> y) { return own->run(y); }, true});
    bytes_on_wire_.push_back(bytes);
  }

  bench::StreamingCopy limit_;
  std::vector<std::unique_ptr<bench::OwnExchange>> own_;
  std::unique_ptr<bench::ClassicExchange> classic_;
  std::vector<bench::RoundContestant> contestants_;
  std::vector<std::size_t> bytes_on_wire_;
};

/// Collective. `calibration` holds what is chosen from, `carriers` all that take part.
BenchCase run_case(Communicator& communicator, const Calibration& calibration,
                   const std::vector<Backend>& carriers, const BenchOptions& options,
                   const CaseChoice& choice) {
  bench::ExchangeCase exchange;
  together(communicator, [&] { exchange = make_case(communicator, options, choice); });
  const bench::Traffic traffic = bench::gather_traffic(communicator, exchange);
  const Field field(communicator, carriers, exchange, traffic);
  bench::StateProbe probe(communicator, carriers.front());
  BenchCase result{.tokens_per_rank = choice.tokens_per_rank,
                   .hidden = choice.hidden,
                   .top_k = options.top_k,
                   .experts = options.experts,
                   .ranks = communicator.size(),
                   .nodes = communicator.topology().num_nodes(),
                   .dtype = name_of(options.dtype),
                   .routing = choice.routing,
                   .combine = name_of(choice.combine),
                   .before = probe.measure(),
                   .after = {},
                   .limit_s = {},
                   .limit_again_s = {},
                   .contestants = {},
                   .dispatch = traffic.rows,
                   .choice = choose_for_bench(communicator.topology(), calibration,
                                              {options.experts, options.top_k, exchange.format.bytes(),
                                               choice.combine, choice.tokens_per_rank})};
  bench::ContestPace pace;
  pace.seconds = options.seconds;
  pace.chain_s = 10e-3;
  const bench::ExpectedSums expected(exchange);
  auto times = bench::run_contest(communicator, field.contestants(), expected.check(exchange.combine), pace);
  result.after = probe.measure();
  result.limit_s = times[0].whole;
  result.limit_again_s = times[1].whole;
  for (std::size_t i = 0; i < field.bytes_on_wire().size(); ++i) {
    result.contestants.push_back({std::move(times[i + 2]), field.bytes_on_wire()[i]});
  }
  communicator.barrier();  // nobody leaves under the others' messages
  return result;
}

}  // namespace

std::vector<BenchCase> run_bench_cases(Communicator& communicator, const Backend& backend,
                                       const BenchOptions& options,
                                       const std::function<void(const BenchCase&)>& on_result) {
  const auto calibration = calibrate(communicator, backend,
                                     {PathRequest::automatic, CarrierRequest::automatic, options.calibrate});
  const auto carriers = usable_carriers(communicator, backend, CarrierRequest::automatic);
  std::vector<BenchCase> results;
  for (const CaseChoice& choice : cross(options)) {
    results.push_back(run_case(communicator, calibration, carriers, options, choice));
    together(communicator, [&] {
      if (communicator.rank() == Rank{0}) on_result(results.back());
    });
  }
  return results;
}

}  // namespace moewe
