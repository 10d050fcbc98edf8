#include "launch/timeline.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <utility>

#include "comm/log.hpp"
#include "comm/together.hpp"
#include "launch/watchdog.hpp"

namespace moewe {
namespace {

static_assert(std::is_trivially_copyable_v<LayerStepRecord>);

}  // namespace

std::size_t Timeline::room_for(std::uint64_t num_steps, std::size_t num_layers, std::size_t num_ranks) {
  const std::size_t most = std::max(least_steps, most_steps / num_ranks);
  return num_steps > most / num_layers ? most : num_steps * num_layers;
}

Timeline::Timeline(Communicator& communicator, std::filesystem::path path,
                   const std::vector<RunLayer>& layers, std::vector<std::size_t> numbers,
                   LatestRecords records)
    : communicator_(communicator),
      path_(std::move(path)),
      layers_(layers),
      numbers_(std::move(numbers)),
      records_(std::move(records)),
      marks_(numbers_.size(), communicator.rank() == Rank{0} ? most_marks : 0) {
  together(communicator, [&] {
    if (communicator.rank() == Rank{0}) file_.emplace(path_);
  });
  offsets_ = measure_clock_offsets(communicator);
  origin_ = steady_now().count();
}

void Timeline::step_of_layer(std::uint64_t step, std::size_t i, const StepOutcome& outcome) {
  records_.add(record_of(step, i, outcome));
  marks_.look_at(i, layers_[i].migration(), outcome.begun);
}

void Timeline::between_steps() {
  const auto now = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < layers_.size(); ++i) marks_.look_at(i, layers_[i].migration(), now);
}

void Timeline::finish() {
  between_steps();
  const TimelineSubject subject = describe();
  const TimelineText text(subject);
  write([&] { return text.head(); });
  write_steps(text);
  write([&] { return text.epochs(marks_.marks()) + text.tail(); });
  together(communicator_, [&] {
    if (file_) file_->commit();
  });
  warn_of_what_is_left_out();
}

TimelineSubject Timeline::describe() {
  const Topology& topology = communicator_.topology();
  const auto hosts = all_gather_values(communicator_, ShortText<64>(host_name()));
  TimelineSubject subject{.topology = topology,
                          .hosts = std::vector<std::string>(topology.num_nodes()),
                          .offsets = offsets_,
                          .origin = origin_,
                          .layers = numbers_,
                          .steps_left_out = records_.num_left_out(),
                          .marks_left_out = marks_.num_left_out()};
  for (std::size_t rank = 0; rank < hosts.size(); ++rank)
    subject.hosts[topology.node_of(rank_at(rank))] = hosts[rank].view();
  return subject;
}

void Timeline::write(const std::function<std::string()>& make_text) {
  together(communicator_, [&] {
    if (!file_) return;
    const std::string text = make_text();
    file_->append(std::as_bytes(std::span(text)));
  });
}

void Timeline::write_steps(const TimelineText& text) {
  constexpr std::size_t bytes_at_once = std::size_t{4} << 20U;
  const std::size_t num_ranks = communicator_.size();
  const std::size_t at_once = std::max<std::size_t>(1, bytes_at_once / sizeof(LayerStepRecord) / num_ranks);
  std::vector<LayerStepRecord> mine;
  for (std::size_t first = 0; first < records_.size(); first += at_once) {
    mine.clear();
    for (std::size_t i = first; i < std::min(first + at_once, records_.size()); ++i)
      mine.push_back(records_[i]);
    const std::vector<std::byte> all = communicator_.gather(std::as_bytes(std::span(mine)), Rank{0});
    write([&] {
      std::string events;
      for (std::size_t rank = 0; rank < num_ranks; ++rank) {
        const std::size_t num_bytes = mine.size() * sizeof(LayerStepRecord);
        std::memcpy(mine.data(), all.data() + rank * num_bytes, num_bytes);
        events += text.steps(rank_at(rank), mine);
      }
      return events;
    });
  }
}

void Timeline::warn_of_what_is_left_out() const {
  if (communicator_.rank() != Rank{0}) return;
  if (const std::size_t steps = records_.num_left_out(); steps > 0) {
    log(LogLevel::warning,
        fmt::format("{}: begins with the latest {} layer steps of each rank; {} before them are left out",
                    path_.string(), records_.size(), steps));
  }
  if (const std::size_t marks = marks_.num_left_out(); marks > 0) {
    log(LogLevel::warning, fmt::format("{}: lacks the latest {} marks of epochs", path_.string(), marks));
  }
}

}  // namespace moewe
