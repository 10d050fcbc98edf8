#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fmt/format.h>
#include <memory>
#include <random>

#include "benchmarks/byte_exchange.hpp"
#include "benchmarks/command_line.hpp"
#include "benchmarks/exchange/classic_exchange.hpp"
#include "benchmarks/exchange/expected_sums.hpp"
#include "benchmarks/exchange/own_exchange.hpp"
#include "benchmarks/harness.hpp"
#include "benchmarks/mpi_program.hpp"
#include "benchmarks/program.hpp"
#include "benchmarks/results_file.hpp"
#include "comm/error.hpp"
#include "comm/mpi/mpi_backend.hpp"
#include "comm/ucx/ucx_transport.hpp"

namespace moewe::bench {
namespace {

namespace po = boost::program_options;

constexpr const char* program = "message_benchmark";

struct Options {
  std::vector<std::size_t> sizes;
  std::vector<std::string> carriers;
  std::size_t hidden = 0;
  ExchangeOptions exchange;
  ContestPace pace;
  ResultsFile json;
};

po::options_description describe_options() {
  po::options_description options(
      "message_benchmark: equal bytes between all pairs of ranks, by messages and by MPI_Alltoallv.\n"
      "  bytes  them alone: messages as long as the message path's against MPI_Alltoallv\n"
      "  rows   to experts and back, top-1: the layer's message path against permute and MPI_Alltoallv\n"
      "Times are the maximum over ranks of each round; contestants take turns; the first one of each kind\n"
      "runs twice, so that its second row says how far equals differ. Start it with mpirun and at least two\n"
      "ranks; where others use the cores with OMPI_MCA_mpi_yield_when_idle=1, so that MPI gives them away "
      "as\n"
      "our waits do, since else only one of the two loses its turn.\n\n"
      "Options");
  auto add = options.add_options();
  add("sizes", text_option("LIST", "4096,16384,65536,262144,1048576,4194304"),
      "bytes for each pair of ranks and direction, whole rows");
  add("carriers", text_option("LIST", "mpi"), "what carries messages: mpi, ucx");
  add("hidden", text_option("N", "2048"), "bf16 values of a row");
  add("chunk", text_option("BYTES", "0"), "longest message, 0 for what the path takes");
  add("time", text_option("MS", "1000"), "for each size and kind, and at least 20 rounds");
  return options;
}

/// As many tokens for each rank, in any order, each for one expert of it.
ExchangeCase make_case(const Communicator& communicator, std::size_t size, std::size_t hidden) {
  ExchangeCase exchange;
  exchange.format = {hidden, Dtype::bf16};
  exchange.num_experts = communicator.size();
  exchange.top_k = 1;
  exchange.num_tokens = size / exchange.format.bytes() * communicator.size();
  exchange.x.resize(exchange.num_tokens * exchange.format.bytes());
  std::mt19937 random(static_cast<std::uint32_t>(1 + number(communicator.rank())));
  for (std::size_t i = 0; i < exchange.x.size(); i += 2) {  // values between 0.5 and 8
    exchange.x[i] = static_cast<std::byte>(random() & 0xFFU);
    exchange.x[i + 1] = static_cast<std::byte>(0x3F + random() % 2);
  }
  for (std::size_t token = 0; token < exchange.num_tokens; ++token)
    exchange.experts.push_back(expert_at(token % exchange.num_experts));
  std::shuffle(exchange.experts.begin(), exchange.experts.end(), random);
  exchange.weights.assign(exchange.num_tokens, 1);
  return exchange;
}

/// The median.
std::string microseconds(const std::vector<double>& seconds) {
  return fmt::format("{:.2f}", spread_of(seconds).median * 1e6);
}

/// Prints and keeps what has been measured.
class Results {
 public:
  explicit Results(bool is_first)
      : table_({{"bytes", 8},
                {"kind", 6, false},
                {"contestant", 16, false},
                {"us", 9},
                {"dispatch", 9},
                {"combine", 9},
                {"GB/s", 7},
                {"over first", 10},
                {"p10-p90", 10},
                {"rounds", 6}},
               is_first) {}

  /// `directions`: how often the bytes cross.
  void add(std::size_t size, const char* kind, std::size_t directions,
           const std::vector<ContestResult>& results) {
    for (const ContestResult& result : results) {
      expects(result.is_correct, "every contestant's results are right");
      const Spread seconds = spread_of(result.whole);
      const Spread ratio = spread_of(ratios(result.whole, results.front().whole));
      const double rate = static_cast<double>(directions * size) / seconds.median;
      table_.print(std::vector<std::string>{
          std::to_string(size), kind, result.name, microseconds(result.whole), microseconds(result.dispatch),
          microseconds(result.combine), fmt::format("{:.3f}", rate * 1e-9),
          fmt::format("{:.3f}", ratio.median), fmt::format("{:.2f}-{:.2f}", ratio.p10, ratio.p90),
          std::to_string(result.whole.size())});
      json_.push_back({{"bytes", size},
                       {"kind", kind},
                       {"contestant", result.name},
                       {"seconds", seconds.median},
                       {"dispatch_s", spread_of(result.dispatch).median},
                       {"combine_s", spread_of(result.combine).median},
                       {"bytes_per_s", rate},
                       {"over_first", ratio.median},
                       {"over_first_p10", ratio.p10},
                       {"over_first_p90", ratio.p90},
                       {"rounds", result.whole.size()}});
    }
  }

  const Json& json() const { return json_; }

 private:
  Table table_;
  Json json_ = Json::array();
};

struct Carrier {
  std::string name;
  Backend backend;
  std::unique_ptr<MessageTransport> transport;
};

void run_bytes(Communicator& communicator, std::span<const Carrier> carriers, std::size_t size,
               const Options& options, Results& results) {
  ByteExchange bytes(communicator, size);
  std::vector<RoundContestant> contestants;
  const auto add = [&](const std::string& name, std::function<void()> work) {
    const auto run = [work = std::move(work)](std::span<float>) { return RoundTrip{seconds_of(work), 0, 0}; };
    contestants.push_back({name, run, false});
  };
  for (const char* name : {"alltoallv", "alltoallv again"}) add(name, [&bytes] { bytes.alltoallv(); });
  for (const Carrier& carrier : carriers) {
    add("messages-" + carrier.name, [&] { bytes.messages(*carrier.transport, options.exchange); });
  }
  const auto check_all = [&] {
    for (const RoundContestant& contestant : contestants) {
      contestant.run({});
      bytes.check();
    }
  };
  check_all();
  const auto times = run_contest(communicator, contestants, {}, options.pace);
  check_all();
  results.add(size, "bytes", 1, times);
}

void run_rows(Communicator& communicator, std::span<const Carrier> carriers, std::size_t size,
              const Options& options, Results& results) {
  const ExchangeCase exchange = make_case(communicator, size, options.hidden);
  ClassicExchange classic(exchange);
  std::vector<RoundContestant> contestants;
  for (const char* name : {"classic", "classic again"})
    contestants.push_back({name, [&classic](std::span<float> y) { return classic.run(y); }, true});
  std::vector<std::unique_ptr<OwnExchange>> own;
  for (const Carrier& carrier : carriers) {
    own.push_back(
        std::make_unique<OwnExchange>(communicator, carrier.backend, PathRequest::message, exchange));
    OwnExchange& path = *own.back();
    contestants.push_back(
        {"path-" + carrier.name, [&path](std::span<float> y) { return path.run(y); }, true});
  }
  const ExpectedSums expected(exchange);
  results.add(size, "rows", 2,
              run_contest(communicator, contestants, expected.check(exchange.combine), options.pace));
  communicator.barrier();  // nobody leaves under the others' messages
}

void run_rank(Communicator& communicator, Options& options) {
  if (communicator.size() < 2)
    throw InvalidInput("messages need at least two ranks: start it with mpirun -n 2");
  std::vector<Carrier> carriers;
  for (const std::string& name : options.carriers) {
    const Backend backend = name == "ucx" ? over_ucx(mpi_backend()) : mpi_backend();
    carriers.push_back({name, backend, backend.make_transport(communicator)});
  }
  const bool is_first = communicator.rank() == Rank{0};
  if (is_first)
    fmt::print("{} ranks on {} nodes\n", communicator.size(), communicator.topology().num_nodes());
  Results results(is_first);
  for (const std::size_t size : options.sizes) {
    run_bytes(communicator, carriers, size, options, results);
    run_rows(communicator, carriers, size, options, results);
  }
  options.json.write({{"ranks", communicator.size()}, {"results", results.json()}});
}

Options parse(const CommandLine& line) {
  constexpr std::size_t largest = std::size_t{1} << 26U;
  Options options;
  options.sizes = line.numbers("sizes", 1, largest);
  options.hidden = line.number("hidden", 1, largest);
  options.exchange.message_chunk_bytes = line.number("chunk", 0, largest);
  options.pace.seconds = static_cast<double>(line.number("time", 0, 1000000)) / 1000;
  const std::size_t row = RowFormat{options.hidden, Dtype::bf16}.bytes();
  for (const std::size_t size : options.sizes) {
    if (size % row == 0) continue;
    throw InvalidInput(fmt::format("--sizes: {} bytes are no whole rows of {}; see --hidden", size, row));
  }
  for (const std::string& carrier : options.carriers = line.parts("carriers")) {
    if (carrier != "mpi" && carrier != "ucx")
      throw InvalidInput(fmt::format("--carriers takes mpi and ucx, not '{}'", carrier));
  }
  options.json = line.results_file();
  return options;
}

int run(const CommandLine& line) {
  Options options = parse(line);
  return run_mpi_rank(program, true, [&](Communicator& communicator) { run_rank(communicator, options); });
}

}  // namespace
}  // namespace moewe::bench

int main(int argc, char** argv) {
  return moewe::bench::run_program(moewe::bench::program, argc, argv, moewe::bench::describe_options(),
                                   moewe::bench::run);
}
