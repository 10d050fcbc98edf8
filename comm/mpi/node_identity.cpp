#include "comm/mpi/node_identity.hpp"

#include <array>
#include <fstream>
#include <string>
#include <unistd.h>
#include <xxhash.h>

namespace moewe {

std::uint64_t node_identity() {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  std::string identity(host.data());
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  identity += '\n' + boot;
  return XXH3_64bits(identity.data(), identity.size());
}

}  // namespace moewe
