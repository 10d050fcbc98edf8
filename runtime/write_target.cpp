#include "runtime/write_target.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

namespace fs = std::filesystem;

constexpr int max_links = 40;  // as many as the system follows

[[noreturn]] void refuse(const fs::path& path, const std::string& reason) {
  throw InvalidInput(fmt::format("{}: cannot be written: {}", path.string(), reason));
}

/// `at` with a folder that is no link, and none of whose parents is.
fs::path in_plain_folder(const fs::path& at, const fs::path& path) {
  std::error_code failure;
  const fs::path folder = fs::canonical(at.has_parent_path() ? at.parent_path() : fs::path("."), failure);
  if (failure) refuse(path, failure.message());
  return folder / at.filename();
}

/// What links there are read as need not be where they lead.
bool is_in_proc(const fs::path& at) { return at.string().rfind("/proc/", 0) == 0; }

WriteTarget judge(const fs::path& at, const struct stat& status, const fs::path& path) {
  if (S_ISREG(status.st_mode)) return {at, true};
  if (S_ISCHR(status.st_mode)) return {at, false};
  if (S_ISDIR(status.st_mode)) refuse(path, std::strerror(EISDIR));
  refuse(path, "it is neither a regular file nor a character device");
}

WriteTarget judge_open_file(const fs::path& at, const fs::path& path) {
  struct stat status {};
  if (stat(at.c_str(), &status) != 0) refuse(path, std::strerror(errno));
  if (S_ISREG(status.st_mode) || S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode)) return {at, false};
  return judge(at, status, path);
}

}  // namespace

WriteTarget find_write_target(const fs::path& path) {
  fs::path at = path;
  for (int num_links = 0; num_links <= max_links; ++num_links) {
    at = in_plain_folder(at, path);
    struct stat status {};
    if (lstat(at.c_str(), &status) != 0) {
      if (errno != ENOENT) refuse(path, std::strerror(errno));
      return {at, true};
    }
    if (!S_ISLNK(status.st_mode)) return judge(at, status, path);
    if (is_in_proc(at)) return judge_open_file(at, path);
    std::error_code failure;
    at = at.parent_path() / fs::read_symlink(at, failure);
    if (failure) refuse(path, failure.message());
  }
  refuse(path, std::strerror(ELOOP));
}

int open_as_it_is(const WriteTarget& target) {
  // What this process has open is shared as it is, with its position.
  if (target.path.parent_path() == fmt::format("/proc/{}/fd", getpid())) {
    return fcntl(std::stoi(target.path.filename().string()), F_DUPFD_CLOEXEC, 0);
  }
  const int fd = open(target.path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd >= 0) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  return fd;
}

bool name_one_file(const fs::path& one, const fs::path& other) {
  std::error_code missing;
  if (fs::equivalent(one, other, missing)) return true;
  try {
    return find_write_target(one).path == find_write_target(other).path;
  } catch (const InvalidInput&) {
    return false;
  }
}

}  // namespace moewe
