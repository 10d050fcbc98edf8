#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>

#include "comm/error.hpp"

namespace moewe::fuzz {

inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// What holds for everything that is accepted; ends the fuzzer where it does not.
inline void require(bool condition, const char* property) {
  if (condition) return;
  std::fprintf(stderr, "accepted, although not so: %s\n", property);
  std::abort();
}

/// A refusal is one short line of text, whatever the input was.
inline void check_refusal(const InvalidInput& error) {
  const std::string_view text = error.what();
  require(text.rfind("INPUT: ", 0) == 0, "a refusal begins with where it is");
  require(text.size() < 1000, "a refusal is short");
  require(text.find_first_of(std::string_view("\n\r\t\0\x1b", 5)) == std::string_view::npos,
          "a refusal is one line");
}

/// Runs one input; InvalidInput is a fine answer, and the only fine exception.
template <typename Parse>
int run(const std::uint8_t* data, std::size_t size, Parse&& parse) {
  try {
    parse(std::as_bytes(std::span(data, size)));
  } catch (const InvalidInput& error) {
    check_refusal(error);
  }
  return 0;
}

}  // namespace moewe::fuzz
