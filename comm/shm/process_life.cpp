#include "comm/shm/process_life.hpp"

#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

namespace moewe {
namespace {

/// What /proc says of a process; its state is 0 where it says nothing.
struct ProcessStat {
  char state = 0;
  std::uint64_t start = 0;
};

ProcessStat stat_of(pid_t process) {
  constexpr int fields_before_start = 18;  // that follow the state
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::size_t name_end = text.rfind(')');  // a name may hold anything
  if (name_end == std::string::npos) return {};
  std::istringstream fields(text.substr(name_end + 1));
  ProcessStat stat;
  fields >> stat.state;
  std::string skipped;
  for (int i = 0; i < fields_before_start; ++i) fields >> skipped;
  fields >> stat.start;
  return stat;
}

}  // namespace

std::uint64_t start_of_process(pid_t process) { return stat_of(process).start; }

Vitality life_of_process(pid_t process, std::uint64_t start) {
  const ProcessStat stat = stat_of(process);
  if (stat.state == 0 || stat.start != start) return Vitality::dead;
  switch (stat.state) {
    case 'T':
    case 't':
      return Vitality::stopped;
    case 'Z':
    case 'X':
      return Vitality::dead;
    default:
      return Vitality::runs;
  }
}

}  // namespace moewe
