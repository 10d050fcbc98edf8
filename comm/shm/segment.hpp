#pragma once

#include <cstddef>
#include <string>
#include <sys/types.h>

namespace moewe {

/// Owns a file descriptor. Move-only.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;

  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

/// A file in memory without a name; it vanishes with the last process that holds it, also after a crash.
FileDescriptor create_memfd();

/// The same, or where the system allows none a file without a name in the folder for temporary files: for
/// what is small and need not be quick.
FileDescriptor create_nameless_file();

enum class FileAccess { read, write };

/// A file without a name of another process of the same user, through /proc. Fails across PID namespaces.
FileDescriptor open_memfd_of(pid_t process, int fd, FileAccess access = FileAccess::read);

/// A POSIX shared-memory file, for where memfds of others cannot be opened. The caller unlinks the name.
FileDescriptor create_named(const std::string& name);
FileDescriptor open_named(const std::string& name);
void unlink_named(const std::string& name) noexcept;

// All of the above throw Error(communication) with the system's reason.

/// How many bytes of addresses each of `num_segments` mappings may take: they cost nothing until they are
/// used, and no segment can need more than the machine's memory, but an address space has an end too.
std::size_t reserved_length(std::size_t num_segments);

/// One mapping of a shared file over a reserved range of addresses that is longer than the file: the file can
/// grow under it, and the mapping never moves. Bytes beyond the end of the file must not be touched.
class Segment {
 public:
  using Access = FileAccess;

  /// Reserves addresses for a file of up to `reserved` bytes. Throws Error(communication) when they cannot be
  /// had, or when `file` is not the regular file of at least `least_bytes` that it should be.
  Segment(FileDescriptor file, Access access, std::size_t reserved, std::size_t least_bytes = 0);
  ~Segment();
  Segment(Segment&& other) noexcept;
  Segment(const Segment&) = delete;
  Segment& operator=(Segment&&) = delete;

  std::byte* data() const { return data_; }
  int file() const { return file_.get(); }

  /// Makes the file this long and its memory really there. Throws Error(out_of_memory).
  void grow(std::size_t bytes);

  std::size_t size() const { return size_; }

 private:
  FileDescriptor file_;
  std::size_t reserved_ = 0;
  std::size_t size_ = 0;
  std::byte* data_ = nullptr;
};

}  // namespace moewe
