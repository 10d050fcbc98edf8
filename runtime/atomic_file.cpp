#include "runtime/atomic_file.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "comm/error.hpp"

namespace moewe {

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(path), target_(find_write_target(path)) {
  const int fd = target_.is_replaceable ? open_partial() : open_as_it_is(target_);
  require(fd >= 0);
  file_.reset(fdopen(fd, "wb"));
  if (file_) return;
  const int reason = errno;
  close(fd);
  errno = reason;
  require(false);
}

/// Names that are there already were left by an earlier process of this number, or are another machine's.
int AtomicFile::open_partial() {
  constexpr int max_attempts = 1000;
  for (int n = 0;; ++n) {
    const auto name = target_.path.parent_path() / fmt::format(".moewe-{}-{}.partial", getpid(), n);
    const int fd = open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) partial_.emplace(name);
    if (fd >= 0 || errno != EEXIST || n == max_attempts) return fd;
  }
}

void AtomicFile::append(std::span<const std::byte> bytes) {
  require(std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) == bytes.size());
}

void AtomicFile::commit() {
  require(std::fflush(file_.get()) == 0);
  if (!partial_) return;
  require(fsync(fileno(file_.get())) == 0);
  require(partial_->finish(target_.path));
}

void AtomicFile::require(bool success) const {
  if (!success)
    throw InvalidInput(fmt::format("{}: cannot be written: {}", path_.string(), std::strerror(errno)));
}

}  // namespace moewe
