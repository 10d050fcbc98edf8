#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

#include "placement/load_history.hpp"

namespace moewe {

/// Loads that somebody recorded, from a file of any of these kinds:
/// - a history of Moewe (to_json);
/// - JSON with "logical_count" [layers][experts], as SGLang writes it: one window; with one or two dimensions
///   more in front, each of their elements is a window;
/// - a trace of choices (launch/trace.hpp): each of its steps is a window, and there are `num_experts`, or as
///   many as the largest id needs.
/// Counts are whole numbers, also written as 17.0. Throws InvalidInput that begins with the path.
LoadHistory read_loads(const std::filesystem::path& path, std::optional<std::size_t> num_experts = {});

/// The same for the text of a JSON file. Throws InvalidInput that begins with `where`.
LoadHistory parse_loads(const std::string& text, const std::string& where);

/// As a file keeps it, in one line: what is read from it equals what was written.
std::string to_json(const LoadHistory& history);

/// Whether such a file is a trace, and so has what each token chose. Throws InvalidInput where it cannot be
/// read.
bool is_trace(const std::filesystem::path& path);

/// Whether a file's first bytes are those of JSON rather than of safetensors or npy.
bool looks_like_json(const std::string& first_bytes);

/// That a file of loads or placements has at most.
inline constexpr std::size_t max_placement_file_bytes = std::size_t{64} << 20U;

}  // namespace moewe
