#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace moewe {

/// The expert of each slot, by the numbers of layers: all the same length.
using SlotLists = std::map<std::int64_t, std::vector<std::int64_t>>;

/// Reads what TensorRT-LLM's load balancer is configured with, a small part of YAML:
///
///     num_slots: 4
///     initial_global_assignments:
///       3: [0, 1, 2, 0]
///       4:
///       - 1
///       - 0
///       - 2
///       - 1
///     layer_updates_per_iter: 0
///
/// Lists may go on over lines, and lines may end in comments; anything else is refused. Numbers are whole and
/// below 2^31. Throws InvalidInput that begins with `where` and names the line.
SlotLists parse_tensorrt_map(const std::string& text, const std::string& where);

/// The same as text, with no updates while running.
std::string tensorrt_text(const SlotLists& lists);

}  // namespace moewe
