#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <fmt/format.h>
#include <mpi.h>
#include <utility>

#include "benchmarks/command_line.hpp"
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

constexpr const char* program = "transport_benchmark";
constexpr Tag tag{1};
constexpr std::size_t least_volume = std::size_t{1} << 22U;  // bytes of one measurement ...
constexpr std::size_t most_repeats = 64;                     // ... unless it takes more messages than these

struct Options {
  std::vector<std::size_t> sizes;
  std::size_t rounds = 0;
  std::size_t window = 0;  ///< messages in flight, one way
  ResultsFile json;
};

po::options_description describe_options() {
  po::options_description options(
      "transport_benchmark: messages over MPI and over UCX against MPI_Alltoallv of the same bytes.\n"
      "Start it with mpirun and at least two ranks.\n\nOptions");
  auto add = options.add_options();
  add("sizes", text_option("LIST", "4096,16384,65536,262144,1048576,4194304"),
      "bytes for each pair of ranks");
  add("rounds", text_option("N", "30"), "runs of each contestant");
  add("window", text_option("N", "16"), "messages in flight where they go one way");
  return options;
}

/// What every rank sends to, and receives from, every rank.
struct Blocks {
  Blocks(std::size_t self, std::size_t num_ranks, std::size_t size)
      : sent(num_ranks * size, static_cast<std::byte>(self + 1)), received(num_ranks * size) {}

  std::vector<std::byte> sent;
  std::vector<std::byte> received;
};

/// The collective part of one size's measurements.
class Arena {
 public:
  Arena(Communicator& communicator, std::size_t size)
      : communicator_(communicator),
        size_(size),
        blocks_(index(communicator.rank()), communicator.size(), size) {}

  std::size_t repeats() const { return std::clamp<std::size_t>(least_volume / size_, 1, most_repeats); }

  /// Seconds of one repeat on the slowest rank, the same on all.
  template <typename Work>
  double measure(Work&& work) {
    communicator_.barrier();
    const double seconds = seconds_of([&] {
      for (std::size_t i = 0; i < repeats(); ++i) work();
    });
    std::array<std::int64_t, 1> slowest{static_cast<std::int64_t>(seconds * 1e9)};
    communicator_.all_reduce({.sums = {}, .minima = {}, .maxima = slowest});
    return static_cast<double>(slowest[0]) * 1e-9 / static_cast<double>(repeats());
  }

  /// All pairs of different ranks, receives posted first.
  void exchange(MessageTransport& transport) {
    requests_.clear();
    for (std::size_t step = 1; step < communicator_.size(); ++step) {
      const std::size_t from = (self() + step) % communicator_.size();
      requests_.push_back(transport.post_recv(rank_at(from), tag, block(blocks_.received, from)));
    }
    for (std::size_t step = 1; step < communicator_.size(); ++step) {
      const std::size_t to = (self() + communicator_.size() - step) % communicator_.size();
      requests_.push_back(transport.post_send(rank_at(to), tag, block(blocks_.sent, to)));
    }
    finish();
  }

  void alltoallv() {
    std::vector<int> counts(communicator_.size(), static_cast<int>(size_));
    std::vector<int> offsets(communicator_.size());
    for (std::size_t r = 0; r < offsets.size(); ++r) offsets[r] = static_cast<int>(r * size_);
    counts[self()] = 0;
    MPI_Alltoallv(blocks_.sent.data(), counts.data(), offsets.data(), MPI_BYTE, blocks_.received.data(),
                  counts.data(), offsets.data(), MPI_BYTE, MPI_COMM_WORLD);
  }

  /// Rank 0 to rank 1 and back.
  void ping_pong(MessageTransport& transport) {
    if (self() > 1) return;
    const std::size_t other = 1 - self();
    for (const bool is_sending : {self() == 0, self() != 0}) {
      requests_.clear();
      if (is_sending)
        requests_.push_back(transport.post_send(rank_at(other), tag, block(blocks_.sent, other)));
      if (!is_sending) {
        requests_.push_back(transport.post_recv(rank_at(other), tag, block(blocks_.received, other)));
      }
      finish();
    }
  }

  /// Rank 0 to rank 1, several messages at a time, and a short one back.
  void one_way(MessageTransport& transport, std::size_t window) {
    if (self() > 1) return;
    const std::size_t other = 1 - self();
    const auto send = [&](std::span<const std::byte> bytes) {
      requests_.push_back(transport.post_send(rank_at(other), tag, bytes));
    };
    const auto receive = [&](std::span<std::byte> bytes) {
      requests_.push_back(transport.post_recv(rank_at(other), tag, bytes));
    };
    requests_.clear();
    for (std::size_t i = 0; i < window && self() == 0; ++i) send(block(blocks_.sent, other));
    for (std::size_t i = 0; i < window && self() == 1; ++i) receive(block(blocks_.received, other));
    if (self() == 0) receive(block(blocks_.received, other).first(1));
    finish();
    if (self() == 1) send(block(blocks_.sent, other).first(1));
    finish();
  }

  /// Everybody's last block is there. Forgets them.
  void check() {
    for (std::size_t from = 0; from < communicator_.size(); ++from) {
      for (std::byte& byte : block(blocks_.received, from)) {
        expects(from == self() || std::exchange(byte, std::byte{0}) == static_cast<std::byte>(from + 1),
                "what was received is what was sent");
      }
    }
  }

 private:
  std::size_t self() const { return index(communicator_.rank()); }
  std::span<std::byte> block(std::vector<std::byte>& bytes, std::size_t rank) const {
    return std::span(bytes).subspan(rank * size_, size_);
  }

  void finish() {
    for (Request& request : requests_) {
      communicator_.waiter().until([&] { return request.is_done(); }, {"a message"});
    }
  }

  Communicator& communicator_;
  std::size_t size_;
  Blocks blocks_;
  std::vector<Request> requests_;
};

struct Carrier {
  std::string name;
  std::unique_ptr<MessageTransport> transport;
};

/// What is measured: its name, and bytes that it moves between two ranks in one direction.
struct Measured {
  std::string name;
  std::string carrier;
  double bytes;
  std::function<void()> work;
};

std::vector<Measured> contests(Arena& arena, std::span<const Carrier> carriers, std::size_t size,
                               const Options& options) {
  const auto bytes = static_cast<double>(size);
  std::vector<Measured> all{{"exchange", "alltoallv", bytes, [&arena] { arena.alltoallv(); }}};
  for (const auto& [name, transport] : carriers) {
    MessageTransport& over = *transport;
    all.push_back({"exchange", name, bytes, [&arena, &over] { arena.exchange(over); }});
    all.push_back({"ping-pong", name, 2 * bytes, [&arena, &over] { arena.ping_pong(over); }});
    all.push_back({"one way", name, static_cast<double>(options.window) * bytes,
                   [&arena, &over, &options] { arena.one_way(over, options.window); }});
  }
  return all;
}

void check_all(Arena& arena, std::span<const Carrier> carriers) {
  arena.alltoallv();
  arena.check();
  for (const Carrier& carrier : carriers) {
    arena.exchange(*carrier.transport);
    arena.check();
  }
}

/// One size: a row for each contestant, its ratio to the first one of the same name.
void run_size(Communicator& communicator, std::span<const Carrier> carriers, std::size_t size,
              const Options& options, const Table& table, Json& results) {
  Arena arena(communicator, size);
  check_all(arena, carriers);
  const std::vector<Measured> measured = contests(arena, carriers, size, options);
  std::vector<Contestant> contestants;
  for (const Measured& one : measured) {
    contestants.push_back({one.name, [&arena, &one] { return arena.measure(one.work); }});
  }
  const auto times = alternate(contestants, {options.rounds, options.rounds, 1e9});
  for (std::size_t c = 0; c < measured.size(); ++c) {
    const auto& [name, carrier, bytes, work] = measured[c];
    const auto base =
        static_cast<std::size_t>(std::find_if(measured.begin(), measured.end(),
                                              [&](const auto& m) { return m.name == measured[c].name; }) -
                                 measured.begin());
    const Spread seconds = spread_of(times[c]);
    const Spread ratio = spread_of(ratios(times[base], times[c]));
    table.print(std::vector<std::string>{
        std::to_string(size), name, carrier, fmt::format("{:.2f}", seconds.median * 1e6),
        fmt::format("{:.3f}", bytes / seconds.median * 1e-9), fmt::format("{:.2f}", ratio.median),
        fmt::format("{:.2f}-{:.2f}", ratio.p10, ratio.p90), measured[base].carrier});
    results.push_back({{"bytes", size},
                       {"what", name},
                       {"carrier", carrier},
                       {"seconds", seconds.median},
                       {"bytes_per_s", bytes / seconds.median},
                       {"times_as_fast", ratio.median},
                       {"as", measured[base].carrier}});
  }
}

void run_rank(Communicator& communicator, Options& options) {
  if (communicator.size() < 2)
    throw InvalidInput("messages need at least two ranks: start it with mpirun -n 2");
  std::vector<Carrier> carriers;
  carriers.push_back({"mpi", mpi_backend().make_transport(communicator)});
  if (reason_for_no_ucx().empty()) carriers.push_back({"ucx", make_ucx_transport(communicator)});
  const bool is_first = communicator.rank() == Rank{0};
  if (is_first)
    fmt::print("{} ranks on {} nodes\n", communicator.size(), communicator.topology().num_nodes());
  const Table table({{"bytes", 8},
                     {"what", 9, false},
                     {"carrier", 9, false},
                     {"us", 9},
                     {"GB/s", 7},
                     {"times as fast", 13},
                     {"p10-p90", 10},
                     {"as", 9, false}},
                    is_first);
  Json results = Json::array();
  for (const std::size_t size : options.sizes) {
    run_size(communicator, carriers, size, options, table, results);
  }
  options.json.write({{"ranks", communicator.size()}, {"results", results}});
}

Options parse(const CommandLine& line) {
  constexpr std::size_t largest = std::size_t{1} << 28U;
  Options options;
  options.sizes = line.numbers("sizes", 1, largest);
  options.rounds = line.number("rounds", 1, 100000);
  options.window = line.number("window", 1, 4096);
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
