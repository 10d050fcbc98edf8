#pragma once

#include <cstddef>
#include <filesystem>

namespace moewe {

/// A file that is removed at the end of the scope unless it was given its final name before. Until then it is
/// one of those that remove_unfinished_files removes.
class UnfinishedFile {
 public:
  /// `path` is absolute, and the file is there.
  explicit UnfinishedFile(std::filesystem::path path);
  ~UnfinishedFile();
  UnfinishedFile(const UnfinishedFile&) = delete;
  UnfinishedFile& operator=(const UnfinishedFile&) = delete;

  /// Replaces what has that name. Where it fails, returns false, and errno says why.
  bool finish(const std::filesystem::path& name);

 private:
  std::filesystem::path path_;
  std::size_t slot_;
};

/// For whoever ends the process without taking it down. Async-signal-safe. Knows of at most 16 files at a
/// time.
void remove_unfinished_files() noexcept;

}  // namespace moewe
