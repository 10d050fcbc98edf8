// Preloaded into the program under test. Stands between it and the system's shared memory:
//  - refuses memfd_create to rank $MOEWE_TEST_NO_MEMFD_RANK, or to all with -1;
//  - gives rank $MOEWE_TEST_NO_MEMORY_RANK no memory for files from call number $MOEWE_TEST_NO_MEMORY_CALL of
//    posix_fallocate on.

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <dlfcn.h>
#include <fcntl.h>

namespace {

/// Whether the variable names the rank that mpirun made of this process, or all.
bool is_meant(const char* variable) {
  const char* const meant = std::getenv(variable);
  const char* const rank = std::getenv("OMPI_COMM_WORLD_RANK");
  if (meant == nullptr) return false;
  return std::atoi(meant) == -1 || (rank != nullptr && std::atoi(meant) == std::atoi(rank));
}

template <typename Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" int memfd_create(const char* name, unsigned flags) {
  if (is_meant("MOEWE_TEST_NO_MEMFD_RANK")) {
    errno = EPERM;
    return -1;
  }
  return next<int (*)(const char*, unsigned)>("memfd_create")(name, flags);
}

extern "C" int posix_fallocate(int file, off_t offset, off_t length) {
  static std::atomic<int> num_calls{0};
  const char* const first = std::getenv("MOEWE_TEST_NO_MEMORY_CALL");
  if (first != nullptr && is_meant("MOEWE_TEST_NO_MEMORY_RANK") && ++num_calls >= std::atoi(first))
    return ENOSPC;
  return next<int (*)(int, off_t, off_t)>("posix_fallocate")(file, offset, length);
}
