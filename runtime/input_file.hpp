#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace moewe {

/// A regular file, open for reading at any place. It is read and never mapped, so that a file which shrinks
/// meanwhile is an error and no signal. All messages begin with the path and end with the system's reason.
class InputFile {
 public:
  /// Throws InvalidInput when it cannot be opened or is no regular file.
  explicit InputFile(const std::filesystem::path& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }

  /// When it was opened.
  std::uint64_t num_bytes() const { return num_bytes_; }

  /// Fills `bytes` from `offset` on. Throws InvalidInput when the file ends before, as one does that has
  /// become shorter, or cannot be read. May be called from several threads.
  void read(std::uint64_t offset, std::span<std::byte> bytes) const;

 private:
  std::string path_;
  int fd_ = -1;
  std::uint64_t num_bytes_ = 0;
};

/// Reads small pieces of a file in ascending order with few calls. Borrows the file.
class FileWindow {
 public:
  explicit FileWindow(const InputFile& file) : file_(file) {}

  /// Valid until the next call. Throws as InputFile::read does.
  std::span<const std::byte> read(std::uint64_t offset, std::size_t num_bytes);

 private:
  const InputFile& file_;
  std::uint64_t offset_ = 0;
  std::vector<std::byte> bytes_;
};

/// The whole of a file. Throws InvalidInput when it cannot be read or is longer than `max_bytes`.
std::string read_text(const std::filesystem::path& path, std::size_t max_bytes);

}  // namespace moewe
