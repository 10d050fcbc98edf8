#include "launch/timeline_json.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace moewe {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);  // names of hosts may be no UTF-8
}

/// Microseconds, exactly.
std::string micros(std::int64_t nanoseconds) {
  constexpr std::uint64_t thousand = 1000;
  const bool is_negative = nanoseconds < 0;
  const std::uint64_t size =
      is_negative ? 0 - static_cast<std::uint64_t>(nanoseconds) : static_cast<std::uint64_t>(nanoseconds);
  return fmt::format("{}{}.{:03}", is_negative ? "-" : "", size / thousand, size % thousand);
}

// Viewers have a meaning of their own for process and thread 0.
std::size_t process_of(std::size_t node) { return node + 1; }
std::size_t thread_of(Rank rank) { return index(rank) + 1; }

const char* name_of(EpochEvent event) {
  switch (event) {
    case EpochEvent::begun:
      return "begun";
    case EpochEvent::switched:
      return "switched";
    case EpochEvent::cancelled:
      return "cancelled";
  }
  return "";
}

Json name_event(const char* what, std::size_t process, std::size_t thread, const std::string& name) {
  return {{"name", what}, {"ph", "M"}, {"pid", process}, {"tid", thread}, {"args", {{"name", name}}}};
}

}  // namespace

std::string TimelineText::head() const {
  Json clocks = Json::array();
  for (std::size_t node = 0; node < subject_.offsets.size(); ++node) {
    clocks.push_back({{"host", subject_.hosts[node]},
                      {"offset_ns", subject_.offsets[node].to_first.count()},
                      {"error_ns", subject_.offsets[node].error.count()}});
  }
  const Json other{{"program", "moewe " MOEWE_VERSION},
                   {"ranks", subject_.topology.num_ranks()},
                   {"layers", subject_.layers},
                   {"layer_steps_left_out", subject_.steps_left_out},
                   {"epoch_marks_left_out", subject_.marks_left_out},
                   {"clocks", clocks}};
  std::string text =
      fmt::format("{{\"displayTimeUnit\":\"ms\",\"otherData\":{},\n\"traceEvents\":[", dump(other));
  const char* separator = "\n";
  const auto add = [&](const Json& event) { text += std::exchange(separator, ",\n") + dump(event); };
  for (std::size_t node = 0; node < subject_.topology.num_nodes(); ++node) {
    add(name_event("process_name", process_of(node), 0,
                   fmt::format("node {} ({})", node, subject_.hosts[node])));
  }
  for (std::size_t r = 0; r < subject_.topology.num_ranks(); ++r) {
    const std::size_t process = process_of(subject_.topology.node_of(rank_at(r)));
    add(name_event("thread_name", process, thread_of(rank_at(r)), fmt::format("rank {}", r)));
  }
  return text;
}

/// What all events begin with, `time` being of the rank's clock.
std::string TimelineText::event(const char* phase, Rank rank, std::int64_t time) const {
  const std::size_t node = subject_.topology.node_of(rank);
  const std::int64_t shown = time + subject_.offsets[node].to_first.count() - subject_.origin;
  return fmt::format(",\n{{\"ph\":\"{}\",\"pid\":{},\"tid\":{},\"ts\":{}", phase, process_of(node),
                     thread_of(rank), micros(shown));
}

std::string TimelineText::steps(Rank rank, std::span<const LayerStepRecord> records) const {
  std::string text;
  for (const LayerStepRecord& record : records) {
    add_step(rank, record, text);
    add_counters(rank, record, text);
  }
  return text;
}

void TimelineText::add_step(Rank rank, const LayerStepRecord& record, std::string& text) const {
  const std::size_t layer = subject_.layers[record.layer];
  text += event("X", rank, record.begun);
  text += fmt::format(
      ",\"dur\":{},\"cat\":\"step\",\"name\":\"layer {}\",\"args\":{{\"step\":{},\"layer\":{},\"epoch\":{},"
      "\"rows\":{}}}}}",
      micros(record.length), layer, record.step + 1, layer, record.epoch, record.rows);
  std::int64_t done = 0;
  for (std::size_t p = 0; p < num_phases; ++p) {
    const std::int64_t length = std::min(record.phases[p], record.length - done);
    text += event("X", rank, record.begun + done);
    text +=
        fmt::format(",\"dur\":{},\"cat\":\"phase\",\"name\":\"{}\",\"args\":{{\"step\":{},\"layer\":{}}}}}",
                    micros(length), phase_names[p], record.step + 1, layer);
    done += length;
  }
}

void TimelineText::add_counters(Rank rank, const LayerStepRecord& record, std::string& text) const {
  text += event("C", rank, record.begun);
  text += fmt::format(",\"cat\":\"load\",\"name\":\"rows of rank {}\",\"args\":{{\"rows\":{}}}}}",
                      index(rank), record.rows);
  if (rank != Rank{0}) return;  // the same on all ranks
  text += event("C", rank, record.begun);
  text +=
      fmt::format(",\"cat\":\"load\",\"name\":\"imbalance of layer {}\",\"args\":{{\"imbalance\":{:.4f}}}}}",
                  subject_.layers[record.layer], record.imbalance);
}

std::string TimelineText::epochs(std::span<const EpochMark> marks) const {
  std::string text;
  for (const EpochMark& mark : marks) {
    text += event("i", Rank{0}, mark.at);
    text += fmt::format(
        ",\"s\":\"g\",\"cat\":\"epoch\",\"name\":\"epoch {}\",\"args\":{{\"layer\":{},\"epoch\":{},"
        "\"moves\":{},\"bytes\":{}}}}}",
        name_of(mark.event), subject_.layers[mark.layer], mark.epoch, mark.moves, mark.bytes);
  }
  return text;
}

}  // namespace moewe
