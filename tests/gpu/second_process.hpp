#pragma once

#include <cstddef>
#include <string>

#include "comm/device.hpp"

namespace moewe::test {

/// What the second process of a check is told: where the first one's memory and flags are.
struct Told {
  MemoryHandle memory{};
  std::size_t reserved = 0;
  std::size_t length = 0;  ///< that the memory is to have grown to
  int process = 0;
  int flags = 0;  ///< a file of that process, a page long
  bool is_emulated = false;
};

/// Numbers of flags in that page, a cache line each.
enum class SharedFlag : std::size_t { opened, grown, written };

/// What the second process fills the memory with.
inline constexpr unsigned char told_value = 0x5A;

/// The arguments with which a program becomes the second process.
inline constexpr const char* second_argument = "--second";
std::string text_of(const Told& told);

/// In the second process: opens the memory, says so, waits until it has grown, and fills it behind a flag.
/// Returns an exit code; what fails is printed.
int run_second(const std::string& text);

}  // namespace moewe::test
