#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "runtime/input_file.hpp"

namespace moewe {

/// Parses JSON that comes from outside. Beyond what JSON itself demands, refuses keys that stand twice in one
/// object and nesting deeper than 32. Throws InvalidInput that begins with `where`.
nlohmann::json parse_strict_json(std::string_view text, const std::string& where);

/// The same checks, for readers that build something smaller than a nlohmann::json in a pass of their own.
void check_strict_json(std::string_view text, const std::string& where);

/// Where the text cannot be JSON although a lenient parser would take it: a byte order mark at its beginning,
/// or a NUL anywhere. Null when it is neither.
const char* find_json_trap(std::string_view text);

bool is_utf8(std::string_view text);

/// Text from a file as it can stand in a message: at most 200 characters, none of them a control character.
std::string printable(std::string_view text);

}  // namespace moewe
