#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace moewe {

/// Parses JSON that comes from outside. Beyond what JSON itself demands, refuses keys that stand twice in one
/// object and nesting deeper than 32. Throws InvalidInput that begins with `where`.
nlohmann::json parse_strict_json(std::string_view text, const std::string& where);

/// The whole of a file. Throws InvalidInput when it cannot be read or is longer than `max_bytes`.
std::string read_text(const std::filesystem::path& path, std::size_t max_bytes);

}  // namespace moewe
