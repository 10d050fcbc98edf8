#include "launch/available_memory.hpp"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace moewe {
namespace {

/// The number after "name:" in a file of such lines, in kB.
std::size_t kilobytes_in(const char* file, const std::string& name) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(name + ":", 0) != 0) continue;
    std::size_t number = 0;
    std::istringstream(line.substr(name.size() + 1)) >> number;
    return number;
  }
  return 0;
}

/// A file that holds one number; nothing where it holds "max" or is not there.
std::optional<std::size_t> number_in(const std::string& file) {
  std::size_t number = 0;
  if (std::ifstream(file) >> number) return number;
  return std::nullopt;
}

/// What the process's control group (version 2) and those above it still allow.
std::size_t left_by_control_groups() {
  std::size_t left = SIZE_MAX;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (line.rfind("0::", 0) != 0) continue;
    for (std::string group = line.substr(3);; group.erase(group.rfind('/'))) {
      const std::string folder = "/sys/fs/cgroup" + group;
      const auto limit = number_in(folder + "/memory.max");
      const auto used = number_in(folder + "/memory.current");
      if (limit && used) left = std::min(left, *limit - std::min(*limit, *used));
      if (group.empty() || group == "/") break;
    }
  }
  return left;
}

}  // namespace

std::size_t available_memory() {
  constexpr std::size_t kilobyte = 1024;
  const std::size_t on_node = kilobytes_in("/proc/meminfo", "MemAvailable") * kilobyte;
  return std::min(on_node, left_by_control_groups());
}

std::size_t resident_memory() {
  constexpr std::size_t kilobyte = 1024;
  return (kilobytes_in("/proc/self/status", "RssAnon") + kilobytes_in("/proc/self/status", "RssShmem")) *
         kilobyte;
}

}  // namespace moewe
