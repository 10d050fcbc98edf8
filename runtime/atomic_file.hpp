#pragma once

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>

#include "runtime/unfinished_file.hpp"
#include "runtime/write_target.hpp"

namespace moewe {

/// A file that appears under its name only once it is complete: until commit it is called
/// .moewe-PID-N.partial in the same folder, and is removed if never committed. Links are followed. What is no
/// regular file, such as /dev/stdout, is written as it is.
class AtomicFile {
 public:
  /// Throws InvalidInput, with the reason, when the file cannot be created.
  explicit AtomicFile(const std::filesystem::path& path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Both throw InvalidInput, with the system's reason, when the disk is full or the file cannot be written.
  void append(std::span<const std::byte> bytes);
  void commit();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  int open_partial();
  void require(bool success) const;

  std::filesystem::path path_;  // as it was given
  WriteTarget target_;
  std::optional<UnfinishedFile> partial_;  // none where the file is written as it is
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace moewe
