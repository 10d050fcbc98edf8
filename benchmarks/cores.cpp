#include "benchmarks/cores.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <vector>

#include "comm/error.hpp"

namespace moewe::bench {
namespace {

/// Of the process, asked for once: a thread that has been pinned would only tell its own.
const std::vector<std::size_t>& allowed_cores() {
  static const std::vector<std::size_t> cores = [] {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    expects(sched_getaffinity(0, sizeof(allowed), &allowed) == 0, "a process knows its cores");
    std::vector<std::size_t> found;
    for (std::size_t core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &allowed)) found.push_back(core);
    }
    return found;
  }();
  return cores;
}

}  // namespace

void pin_to_cores(std::size_t first, std::size_t count) {
  const std::vector<std::size_t>& cores = allowed_cores();
  if (first + count > cores.size()) {
    throw InvalidInput(fmt::format(
        "--ranks times --threads must not be more than the {} cores that there are", cores.size()));
  }
  cpu_set_t mine;
  CPU_ZERO(&mine);
  for (std::size_t i = first; i < first + count; ++i) CPU_SET(cores[i], &mine);
  expects(pthread_setaffinity_np(pthread_self(), sizeof(mine), &mine) == 0, "a thread can be pinned");
}

}  // namespace moewe::bench
