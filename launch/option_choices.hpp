#pragma once

#include <algorithm>
#include <fmt/format.h>
#include <string>
#include <vector>

#include "comm/error.hpp"

namespace moewe {

/// A value of an option, and how it is typed.
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

/// Empty for a value that is none of them.
template <typename T>
const char* name_of(const Choices<T>& choices, T value) {
  const auto found =
      std::find_if(choices.begin(), choices.end(), [&](const auto& c) { return c.value == value; });
  return found == choices.end() ? "" : found->name;
}

/// Throws InvalidInput with one sentence that lists the choices of --`name`.
template <typename T>
T parse_choice(const char* name, const std::string& text, const Choices<T>& choices) {
  for (const Choice<T>& choice : choices) {
    if (text == choice.name) return choice.value;
  }
  throw InvalidInput(fmt::format("--{} {} is not available; choose from: {}", name, text, list_of(choices)));
}

}  // namespace moewe
