#include "launch/console.hpp"

#include <cstdio>
#include <filesystem>
#include <fmt/format.h>
#include <system_error>
#include <unistd.h>

#include "comm/error.hpp"
#include "launch/launcher.hpp"

namespace moewe {
namespace {

/// Whatever names and values `what` quotes.
std::string one_line(const std::string& what) {
  constexpr std::size_t max_length = 1000;
  std::string line;
  for (const char c : what.substr(0, max_length)) {
    const bool is_control = static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
    line += is_control ? fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)))
                       : std::string(1, c);
  }
  return what.size() > max_length ? line + " ..." : line;
}

}  // namespace

void print_text(const std::string& text) {
  const bool is_written = std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  if (!is_written) throw InvalidInput("standard output cannot be written");
}

void print_error(const std::string& what) {
  std::fflush(stdout);
  std::fputs(fmt::format("moewe: {}\n", one_line(what)).c_str(), stderr);
}

bool is_watched() {
  if (isatty(STDOUT_FILENO) == 0) return false;
  if (!started_by_launcher()) return true;
  std::error_code failure;
  const auto output = std::filesystem::read_symlink(fmt::format("/proc/{}/fd/1", getppid()), failure);
  return !failure &&
         (output.string().rfind("/dev/pts/", 0) == 0 || output.string().rfind("/dev/tty", 0) == 0);
}

}  // namespace moewe
