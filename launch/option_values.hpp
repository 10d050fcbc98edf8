#pragma once

#include <boost/program_options/options_description.hpp>
#include <boost/program_options/variables_map.hpp>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "launch/option_choices.hpp"

namespace moewe {

// How the values of options are read: all throw InvalidInput with one sentence that names the option. What is
// found is none, where it is optional, unless the option was given.

using OptionValues = boost::program_options::variables_map;

/// `command` is what help is asked of: "moewe run". Options are written out in full, and nothing stands
/// alone.
OptionValues parse_command_line(const std::vector<std::string>& arguments,
                                const boost::program_options::options_description& known,
                                const char* command);

/// As it was typed; empty is refused.
std::optional<std::string> find_text(const OptionValues& values, const char* name);

/// "16,64" -> "16" "64"; nothing between two commas is refused.
std::optional<std::vector<std::string>> find_list(const OptionValues& values, const char* name);

/// A whole number from `least` to `most`.
std::optional<std::uint64_t> find_number(const OptionValues& values, const char* name, std::uint64_t least,
                                         std::uint64_t most);

/// Whole numbers from `least` to `most` with commas between them; `otherwise` unless the option was given.
std::vector<std::size_t> find_sizes(const OptionValues& values, const char* name, std::size_t least,
                                    std::size_t most, std::size_t otherwise);

/// Any number above 0 and up to `most`.
std::optional<double> find_positive(const OptionValues& values, const char* name, double most);

/// Bytes: "1500000", "1.5GB", "512MiB".
std::optional<std::uint64_t> find_bytes(const OptionValues& values, const char* name);

/// Throws where one of `names` is given although `what`, which they need, is not.
void require_with(const OptionValues& values, bool needed, const char* what,
                  std::initializer_list<const char*> names);

/// Throws where both are given.
void exclude_both(const OptionValues& values, const char* one, const char* other);

/// The value of the choice that was named.
template <typename T>
std::optional<T> find_choice(const OptionValues& values, const char* name, const Choices<T>& choices) {
  const auto text = find_text(values, name);
  if (!text) return std::nullopt;
  return parse_choice(name, *text, choices);
}

}  // namespace moewe
