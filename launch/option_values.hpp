#pragma once

#include <algorithm>
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/variables_map.hpp>
#include <cstdint>
#include <fmt/format.h>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "comm/error.hpp"

namespace moewe {

// How the values of options are read: all throw InvalidInput with one sentence that names the option.

using OptionValues = boost::program_options::variables_map;

/// `command` is what help is asked of: "moewe run". Options are written out in full, and nothing stands
/// alone.
OptionValues parse_command_line(const std::vector<std::string>& arguments,
                                const boost::program_options::options_description& known,
                                const char* command);

/// As it was typed; empty is refused.
std::optional<std::string> find_text(const OptionValues& values, const char* name);

std::optional<std::uint64_t> parse_number(const std::string& text);

/// "16,64" -> "16" "64"; nothing between two commas is refused.
std::optional<std::vector<std::string>> find_list(const OptionValues& values, const char* name);

/// A whole number from `least` to `most`.
std::optional<std::uint64_t> find_number(const OptionValues& values, const char* name, std::uint64_t least,
                                         std::uint64_t most);

/// Whole numbers from `least` to `most` with commas between them.
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

template <typename T>
struct Choice {
  const char* name;
  T value;
};

template <typename T>
using Choices = std::vector<Choice<T>>;

/// "auto, direct, message"
template <typename T>
std::string list_of(const Choices<T>& choices) {
  std::string list;
  for (const Choice<T>& choice : choices) list += fmt::format("{}{}", list.empty() ? "" : ", ", choice.name);
  return list;
}

template <typename T>
const char* name_of(const Choices<T>& choices, T value) {
  const auto found =
      std::find_if(choices.begin(), choices.end(), [&](const auto& c) { return c.value == value; });
  return found == choices.end() ? "" : found->name;
}

template <typename T>
T parse_choice(const char* name, const std::string& text, const Choices<T>& choices) {
  for (const Choice<T>& choice : choices) {
    if (text == choice.name) return choice.value;
  }
  throw InvalidInput(fmt::format("--{} {} is not available; choose from: {}", name, text, list_of(choices)));
}

/// The value of the choice that was named, or of the first one.
template <typename T>
T find_choice(const OptionValues& values, const char* name, const Choices<T>& choices) {
  const auto text = find_text(values, name);
  return text ? parse_choice(name, *text, choices) : choices.front().value;
}

}  // namespace moewe
