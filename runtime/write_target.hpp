#pragma once

#include <filesystem>

namespace moewe {

/// What is written when somebody names a path.
struct WriteTarget {
  /// Absolute, without links but for a last name in /proc.
  std::filesystem::path path;

  /// Whether it is a regular file or not there yet, so that another file can take its name. Everything else
  /// is written as it is.
  bool is_replaceable;
};

/// Follows links, also to what is not there yet. Throws InvalidInput, with the reason, where neither a
/// regular file nor a character device is or could be; what /proc tells of open files may be a pipe, too.
WriteTarget find_write_target(const std::filesystem::path& path);

/// Opens what is written as it is, at its end, without waiting for anybody. Returns a file descriptor that
/// the caller owns; -1 where that cannot be, and errno says why.
int open_as_it_is(const WriteTarget& target);

/// Whether one file has both names, or would have once it is written: other spellings, links in any part,
/// hard links. False where one of them cannot be written.
bool name_one_file(const std::filesystem::path& one, const std::filesystem::path& other);

}  // namespace moewe
