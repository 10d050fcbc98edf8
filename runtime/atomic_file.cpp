#include "runtime/atomic_file.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <system_error>
#include <unistd.h>

#include "comm/error.hpp"

namespace moewe {

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(path) {
  std::error_code failure;
  const auto status = std::filesystem::status(path, failure);
  if (std::filesystem::is_directory(status)) {
    throw InvalidInput(fmt::format("{}: cannot be written: Is a directory", path.string()));
  }
  if (!std::filesystem::exists(status) || std::filesystem::is_regular_file(status)) {
    temporary_ = fmt::format("{}.{}.partial", path.string(), getpid());
  }
  file_.reset(std::fopen(temporary_.empty() ? path_.c_str() : temporary_.c_str(), "wb"));
  require(file_ != nullptr);
}

AtomicFile::~AtomicFile() {
  file_.reset();
  std::error_code ignored;  // nothing is left to remove after commit
  if (!temporary_.empty()) std::filesystem::remove(temporary_, ignored);
}

void AtomicFile::append(std::span<const std::byte> bytes) {
  require(std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) == bytes.size());
}

void AtomicFile::commit() {
  require(std::fflush(file_.get()) == 0);
  if (temporary_.empty()) return;
  require(fsync(fileno(file_.get())) == 0);
  require(std::rename(temporary_.c_str(), path_.c_str()) == 0);
}

void AtomicFile::require(bool success) const {
  if (!success)
    throw InvalidInput(fmt::format("{}: cannot be written: {}", path_.string(), std::strerror(errno)));
}

}  // namespace moewe
