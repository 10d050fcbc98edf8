#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "comm/communicator.hpp"
#include "launch/kept_file.hpp"
#include "launch/run_totals.hpp"

namespace moewe {

/// What a run keeps of its complete steps, so that another goes on from them: in a file of rank 0, beside the
/// output that it is on its way to.
class RunKeeper {
 public:
  /// What is kept, and of what. `run` has a line for everything that the results depend on.
  struct Subject {
    std::filesystem::path output;
    std::string run;
    TotalsShape shape;
    std::size_t num_steps = 0;
  };

  /// Collective. Throws a shared InvalidInput where there is something in the file's place that no run has
  /// kept. Where the output is written as it is, such as to /dev/stdout, nothing is kept.
  RunKeeper(Communicator& communicator, const Subject& subject);

  /// Collective. On every rank what was kept; none where there is nothing. Throws a shared InvalidInput where
  /// it is another run's or damaged, or where nothing can be kept for this output.
  std::optional<RunTotals> resume();

  /// Collective, after each step but the last: `totals`, whose sums are those that it began with, and what
  /// each rank has added to them since. Throws a shared InvalidInput when the file cannot be written.
  void keep(RunTotals totals, const RankSums& mine);

  /// Local. Once the run is done and all its results are written.
  void remove() noexcept;

 private:
  std::vector<std::byte> share(std::vector<std::byte> bytes) const;

  Communicator& communicator_;
  TotalsShape shape_;
  std::size_t num_steps_;
  std::filesystem::path output_;
  std::optional<KeptFile> file_;  // on rank 0, if anything is kept
  bool is_keeping_ = false;       // the same on all ranks
};

/// The name of what a run with this output keeps.
std::filesystem::path kept_path(const std::filesystem::path& output);

}  // namespace moewe
