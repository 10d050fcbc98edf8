#include "launch/run_keeper.hpp"

#include <cstring>
#include <fmt/format.h>

#include "comm/together.hpp"
#include "launch/console.hpp"
#include "launch/kept_notice.hpp"
#include "runtime/write_target.hpp"

namespace moewe {

std::filesystem::path kept_path(const std::filesystem::path& output) { return output.string() + ".kept"; }

RunKeeper::RunKeeper(Communicator& communicator, const Subject& subject)
    : communicator_(communicator),
      shape_(subject.shape),
      num_steps_(subject.num_steps),
      output_(subject.output) {
  together(communicator_, [&] {
    if (communicator_.rank() != Rank{0} || !find_write_target(output_).is_replaceable) return;
    file_.emplace(kept_path(output_), subject.run, shape_.num_bytes());
  });
  is_keeping_ = !share(std::vector<std::byte>(file_ ? 1 : 0)).empty();
}

/// Collective. Rank 0's bytes, on every rank.
std::vector<std::byte> RunKeeper::share(std::vector<std::byte> bytes) const {
  std::uint64_t length = bytes.size();
  communicator_.broadcast(std::as_writable_bytes(std::span(&length, 1)), Rank{0});
  bytes.resize(length);
  communicator_.broadcast(bytes, Rank{0});
  return bytes;
}

std::optional<RunTotals> RunKeeper::resume() {
  std::vector<std::byte> bytes;
  together(communicator_, [&] {
    if (!is_keeping_) throw InvalidInput("--resume needs an --output that is a regular file");
    if (!file_) return;
    const auto state = file_->resume();
    if (!state) return print_text(fmt::format("nothing to resume: there is no {}\n", file_->path().string()));
    bytes = state->bytes;
    note_kept(file_->path().string(), state->number, num_steps_);
  });
  bytes = share(std::move(bytes));
  if (bytes.empty()) return std::nullopt;
  RunTotals totals = totals_from(bytes, shape_);
  together(communicator_, [&] {
    if (totals.num_steps > 0 && totals.num_steps < num_steps_) return;
    throw InvalidInput(fmt::format("{}: was kept after step {}, and this run has {}",
                                   kept_path(output_).string(), totals.num_steps, num_steps_));
  });
  return totals;
}

void RunKeeper::keep(RunTotals totals, const RankSums& mine) {
  if (!is_keeping_) return;
  const std::vector<std::byte> all = communicator_.gather(std::as_bytes(std::span(&mine, 1)), Rank{0});
  together(communicator_, [&] {
    if (!file_) return;
    for (std::size_t at = 0; at < all.size(); at += sizeof(RankSums)) {
      RankSums sums;
      std::memcpy(&sums, all.data() + at, sizeof sums);
      totals.sums.add(sums);
    }
    file_->keep(totals.num_steps, to_bytes(totals, shape_));
    note_kept(file_->path().string(), totals.num_steps, num_steps_);
  });
}

void RunKeeper::remove() noexcept {
  forget_kept();
  if (file_) file_->remove();
}

}  // namespace moewe
