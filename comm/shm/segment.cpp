#include "comm/shm/segment.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <initializer_list>
#include <string_view>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "comm/error.hpp"

namespace moewe {
namespace {

/// Tests of kernels are built where there is no library for this.
std::string join(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) text += part;
  return text;
}

FileDescriptor checked(int fd, std::string_view what) {
  if (fd < 0) throw Error(ErrorKind::communication, join({what, ": ", std::strerror(errno)}));
  return FileDescriptor(fd);
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) close(fd_);
}

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

FileDescriptor create_memfd() { return checked(memfd_create("moewe", MFD_CLOEXEC), "memfd_create"); }

FileDescriptor create_nameless_file() {
  const int fd = memfd_create("moewe", MFD_CLOEXEC);
  if (fd >= 0) return FileDescriptor(fd);
  const std::string reason = std::strerror(errno);
  const std::string folder = std::filesystem::temp_directory_path();
  return checked(open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600),
                 join({"memfd_create: ", reason, "; a temporary file in ", folder}));
}

FileDescriptor open_memfd_of(pid_t process, int fd, FileAccess access) {
  const std::string path = join({"/proc/", std::to_string(process), "/fd/", std::to_string(fd)});
  const int mode = access == FileAccess::write ? O_RDWR : O_RDONLY;
  return checked(open(path.c_str(), mode | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), "opening " + path);
}

FileDescriptor create_named(const std::string& name) {
  return checked(shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), "shm_open " + name);
}

FileDescriptor open_named(const std::string& name) {
  return checked(shm_open(name.c_str(), O_RDONLY | O_CLOEXEC, 0), "shm_open " + name);
}

void unlink_named(const std::string& name) noexcept { shm_unlink(name.c_str()); }

std::size_t reserved_length(std::size_t num_segments) {
  constexpr std::size_t shared_addresses = std::size_t{1} << 44U;  // for one of several groups of segments
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const auto memory = static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * page;
  return std::min(memory, shared_addresses / std::max<std::size_t>(num_segments, 1) / page * page);
}

Segment::Segment(FileDescriptor file, Access access, std::size_t reserved, std::size_t least_bytes)
    : file_(std::move(file)), reserved_(reserved) {
  struct stat status {};
  if (fstat(file_.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      static_cast<std::size_t>(status.st_size) < least_bytes) {
    throw Error(ErrorKind::communication, "what was opened as shared memory is not shared memory");
  }
  const int protection = access == Access::write ? PROT_READ | PROT_WRITE : PROT_READ;
  void* mapped = mmap(nullptr, reserved_, protection, MAP_SHARED | MAP_NORESERVE, file_.get(), 0);
  if (mapped == MAP_FAILED) {
    throw Error(ErrorKind::communication,
                join({"reserving ", std::to_string(reserved_),
                      " bytes of addresses for shared memory: ", std::strerror(errno)}));
  }
  data_ = static_cast<std::byte*>(mapped);
}

Segment::~Segment() {
  if (data_ != nullptr) munmap(data_, reserved_);
}

Segment::Segment(Segment&& other) noexcept
    : file_(std::move(other.file_)),
      reserved_(other.reserved_),
      size_(other.size_),
      data_(std::exchange(other.data_, nullptr)) {}

void Segment::grow(std::size_t bytes) {
  if (bytes <= size_) return;
  int failure = bytes > reserved_ ? ENOMEM : EINTR;
  while (failure == EINTR) {
    failure = posix_fallocate(file_.get(), static_cast<off_t>(size_), static_cast<off_t>(bytes - size_));
  }
  if (failure != 0) {
    throw Error(ErrorKind::out_of_memory, join({"growing shared memory to ", std::to_string(bytes),
                                                " bytes: ", std::strerror(failure)}));
  }
  size_ = bytes;
}

}  // namespace moewe
