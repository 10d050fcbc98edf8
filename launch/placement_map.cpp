#include "launch/placement_map.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>
#include <xxhash.h>

#include "comm/error.hpp"
#include "launch/load_file.hpp"
#include "launch/table_json.hpp"
#include "launch/tensorrt_map.hpp"
#include "runtime/input_file.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

using Json = nlohmann::json;
using Slots = std::vector<std::vector<std::int64_t>>;  // the experts of each rank

constexpr std::int64_t file_format = 1;
constexpr std::int64_t most_id = (1 << 16) - 1;  // of an expert, and of a layer

Placement placement_of(const Slots& slots, std::size_t num_experts) {
  std::vector<std::vector<ExpertId>> experts_of_rank;
  for (const auto& rank : slots) {
    std::vector<ExpertId>& experts = experts_of_rank.emplace_back();
    for (const std::int64_t expert : rank) experts.push_back(static_cast<ExpertId>(expert));
  }
  return {0, num_experts, std::move(experts_of_rank)};
}

std::size_t num_experts_in(const std::map<std::size_t, Slots>& layers) {
  std::int64_t largest = 0;
  for (const auto& [layer, slots] : layers) {
    for (const auto& rank : slots) {
      for (const std::int64_t expert : rank) largest = std::max(largest, expert);
    }
  }
  return static_cast<std::size_t>(largest) + 1;
}

PlacementMap map_of(const std::map<std::size_t, Slots>& layers, const MapReader& reader,
                    const std::string& where) {
  const std::size_t num_experts = reader.num_experts.value_or(num_experts_in(layers));
  PlacementMap map;
  for (const auto& [layer, slots] : layers) {
    try {
      map.emplace(layer, placement_of(slots, num_experts));
    } catch (const InvalidInput& error) {
      throw InvalidInput(fmt::format("{}: layer {}: {}", where, layer, error.what()));
    }
  }
  return map;
}

/// Equally many neighbouring slots for each rank.
Slots dealt(const std::vector<std::int64_t>& slots, std::size_t num_ranks, const std::string& where) {
  if (slots.size() % num_ranks != 0 || slots.empty()) {
    throw InvalidInput(fmt::format("{}: {} slots cannot be equally many on each of {} ranks", where,
                                   slots.size(), num_ranks));
  }
  const auto of_rank = static_cast<std::ptrdiff_t>(slots.size() / num_ranks);
  Slots ranks;
  for (auto first = slots.begin(); first != slots.end(); first += of_rank)
    ranks.emplace_back(first, first + of_rank);
  return ranks;
}

PlacementMap parse_sglang(const Json& json, const MapReader& reader, const std::string& where) {
  std::map<std::size_t, Slots> layers;
  for (const auto& slots : number_table(json, most_id, where + ": physical_to_logical_map"))
    layers.emplace(layers.size(), dealt(slots, reader.num_ranks, where));
  return map_of(layers, reader, where);
}

PlacementMap parse_tensorrt(const std::string& text, const MapReader& reader, const std::string& where) {
  std::map<std::size_t, Slots> layers;
  for (const auto& [layer, slots] : parse_tensorrt_map(text, where)) {
    if (*std::max_element(slots.begin(), slots.end()) > most_id || layer > most_id)
      throw InvalidInput(fmt::format("{}: layer {}: layers and experts go up to {}", where, layer, most_id));
    layers.emplace(static_cast<std::size_t>(layer), dealt(slots, reader.num_ranks, where));
  }
  return map_of(layers, reader, where);
}

Slots parse_own_layer(const Json& json, const std::string& where) {
  const Json& ranks = member_of(json, "experts_of_rank", where);
  require_array(ranks, where + ": experts_of_rank");
  Slots slots;
  for (const Json& rank : ranks)
    slots.push_back(number_row(rank, most_id, fmt::format("{}: experts_of_rank[{}]", where, slots.size())));
  return slots;
}

PlacementMap parse_own(const Json& json, const MapReader& reader, const std::string& where) {
  if (json["moewe_placement"] != file_format) {
    throw InvalidInput(fmt::format("{}: moewe_placement, the format, must be {}", where, file_format));
  }
  const std::int64_t num_experts =
      whole_number(member_of(json, "experts", where), most_id + 1, where + ": experts");
  if (reader.num_experts && *reader.num_experts != static_cast<std::size_t>(num_experts)) {
    throw InvalidInput(fmt::format("{}: places {} experts, not {}", where, num_experts, *reader.num_experts));
  }
  const Json& list = member_of(json, "layers", where);
  require_array(list, where + ": layers");
  std::map<std::size_t, Slots> layers;
  for (const Json& entry : list) {
    const auto layer =
        static_cast<std::size_t>(whole_number(member_of(entry, "layer", where), most_id, where + ": layer"));
    const std::string place = fmt::format("{}: layer {}", where, layer);
    Slots slots = parse_own_layer(entry, place);
    if (slots.size() != reader.num_ranks)
      throw InvalidInput(
          fmt::format("{}: is placed on {} ranks, not {}", place, slots.size(), reader.num_ranks));
    if (!layers.emplace(layer, std::move(slots)).second) throw InvalidInput(place + ": stands there twice");
  }
  if (layers.empty()) throw InvalidInput(where + ": layers is empty");
  return map_of(layers, {reader.num_ranks, static_cast<std::size_t>(num_experts)}, where);
}

/// The experts of all slots, of which every rank must have equally many.
std::vector<std::int64_t> slot_list(const Placement& placement, std::size_t layer) {
  const std::size_t of_rank = placement.experts_of(Rank{0}).size();
  std::vector<std::int64_t> slots;
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) {
    const auto experts = placement.experts_of(rank_at(rank));
    if (experts.size() != of_rank) {
      throw InvalidInput(
          fmt::format("layer {}: rank {} has {} slots and rank 0 has {}, which only Moewe's own "
                      "format can tell",
                      layer, rank, experts.size(), of_rank));
    }
    for (const ExpertId expert : experts) slots.push_back(number(expert));
  }
  return slots;
}

}  // namespace

PlacementMap parse_placement_map(const std::string& text, const MapReader& reader, const std::string& where) {
  if (!looks_like_json(text)) return parse_tensorrt(text, reader, where);
  const Json json = parse_strict_json(text, where);
  if (json.contains("physical_to_logical_map"))
    return parse_sglang(json["physical_to_logical_map"], reader, where);
  if (json.contains("moewe_placement")) return parse_own(json, reader, where);
  throw InvalidInput(where +
                     ": has no placement: neither 'physical_to_logical_map' nor 'moewe_placement' is there");
}

PlacementMap read_placement_map(const std::filesystem::path& path, const MapReader& reader) {
  return parse_placement_map(read_text(path, max_placement_file_bytes), reader, path.string());
}

std::string moewe_map(const PlacementMap& map) {
  nlohmann::ordered_json json{{"moewe_placement", file_format},
                              {"experts", map.begin()->second.num_experts()},
                              {"layers", nlohmann::ordered_json::array()}};
  for (const auto& [layer, placement] : map) {
    nlohmann::ordered_json ranks = nlohmann::ordered_json::array();
    for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) {
      nlohmann::ordered_json& experts = ranks.emplace_back(nlohmann::ordered_json::array());
      for (const ExpertId expert : placement.experts_of(rank_at(rank))) experts.push_back(number(expert));
    }
    json["layers"].push_back({{"layer", layer}, {"experts_of_rank", std::move(ranks)}});
  }
  return json.dump() + "\n";
}

std::string sglang_map(const PlacementMap& map) {
  nlohmann::ordered_json table = nlohmann::ordered_json::array();
  for (const auto& [layer, placement] : map) {
    if (layer != table.size())
      throw InvalidInput(
          fmt::format("layer {} is missing, and SGLang's format has all from 0 on", table.size()));
    table.push_back(slot_list(placement, layer));
  }
  return nlohmann::ordered_json{{"physical_to_logical_map", std::move(table)}}.dump() + "\n";
}

std::string tensorrt_map(const PlacementMap& map) {
  SlotLists lists;
  for (const auto& [layer, placement] : map)
    lists.emplace(static_cast<std::int64_t>(layer), slot_list(placement, layer));
  return tensorrt_text(lists);
}

std::string digest(const PlacementMap& map) {
  std::vector<std::uint64_t> words;
  for (const auto& [layer, placement] : map) words.insert(words.end(), {layer, placement.digest()});
  return fmt::format("{:016x}", XXH3_64bits(words.data(), words.size() * sizeof(std::uint64_t)));
}

}  // namespace moewe
