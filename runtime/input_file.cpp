#include "runtime/input_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr std::uint64_t window_bytes = 64 << 10;

[[noreturn]] void fail(const std::string& path, const char* reason) {
  throw InvalidInput(fmt::format("{}: {}", path, reason));
}

/// Opening a pipe must not wait for somebody to write into it.
int open_file(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail(path, std::strerror(errno));
  return fd;
}

}  // namespace

InputFile::InputFile(const std::filesystem::path& path) : path_(path.string()), fd_(open_file(path_)) {
  struct stat status {};
  if (fstat(fd_, &status) == 0 && S_ISREG(status.st_mode)) {
    num_bytes_ = static_cast<std::uint64_t>(status.st_size);
    return;
  }
  close(fd_);
  fail(path_, S_ISDIR(status.st_mode) ? std::strerror(EISDIR) : "not a regular file");
}

InputFile::~InputFile() { close(fd_); }

void InputFile::read(std::uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t count = pread(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path_, std::strerror(errno));
    if (count == 0) fail(path_, "the file ends too early; has it become shorter since it was opened?");
    offset += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

std::span<const std::byte> FileWindow::read(std::uint64_t offset, std::size_t num_bytes) {
  if (offset < offset_ || offset + num_bytes > offset_ + bytes_.size()) {
    const std::uint64_t left = file_.num_bytes() - std::min(offset, file_.num_bytes());
    bytes_.resize(std::max<std::size_t>(num_bytes, std::min(left, window_bytes)));
    file_.read(offset, bytes_);
    offset_ = offset;
  }
  return std::span(bytes_).subspan(offset - offset_, num_bytes);
}

std::string read_text(const std::filesystem::path& path, std::size_t max_bytes) {
  const InputFile file(path);
  if (file.num_bytes() > max_bytes) {
    throw InvalidInput(
        fmt::format("{}: {} bytes are more than the {} allowed", file.path(), file.num_bytes(), max_bytes));
  }
  std::string text(static_cast<std::size_t>(file.num_bytes()), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace moewe
