#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace moewe {

// Numbers in JSON that comes from outside. All throw InvalidInput with a sentence that begins with `where`,
// the file and the place in it, and says what would be right.

/// A whole number from 0 to `most`; also as 17.0.
std::int64_t whole_number(const nlohmann::json& json, std::int64_t most, const std::string& where);

/// [n] of them; may be empty.
std::vector<std::int64_t> number_row(const nlohmann::json& json, std::int64_t most, const std::string& where);

/// [n][m] of them, with a row at least, and all rows of the same length, 1 at least.
std::vector<std::vector<std::int64_t>> number_table(const nlohmann::json& json, std::int64_t most,
                                                    const std::string& where);

/// The member of an object, which must be there.
const nlohmann::json& member_of(const nlohmann::json& json, const char* name, const std::string& where);

/// Throws unless `json` is an array.
void require_array(const nlohmann::json& json, const std::string& where);

}  // namespace moewe
