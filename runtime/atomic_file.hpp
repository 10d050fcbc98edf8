#pragma once

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>

namespace moewe {

/// A file that appears under its name only once it is complete: until commit it has a temporary name beside
/// it, and is removed if never committed. What is no regular file, such as /dev/stdout, is written as it is.
class AtomicFile {
 public:
  /// Throws InvalidInput, with the system's reason, when the file cannot be created.
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Both throw InvalidInput, with the system's reason, when the disk is full or the file cannot be written.
  void append(std::span<const std::byte> bytes);
  void commit();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  void require(bool success) const;

  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty where the file is written as it is
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace moewe
