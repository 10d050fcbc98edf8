#include "launch/kept_file.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sstream>
#include <sys/file.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <xxhash.h>

#include "comm/error.hpp"
#include "runtime/atomic_file.hpp"

namespace moewe {

/// Begins the file; written once but for the number, a single word that every write of it leaves whole.
struct KeptFile::Header {
  std::array<char, 8> mark{'m', 'o', 'e', 'w', 'e', ' ', 'k', 'p'};
  std::uint64_t version = 1;
  std::uint64_t run_bytes = 0;
  std::uint64_t state_bytes = 0;
  std::uint64_t checksum = 0;  // of what is before, and of the run's lines
  std::uint64_t number = 0;
};

namespace {

constexpr std::size_t checksum_bytes = sizeof(std::uint64_t);
constexpr std::size_t max_run_bytes = std::size_t{1} << 20;

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

/// The number is part of it, so that an older state is not taken for a newer one.
std::uint64_t checksum_of(std::uint64_t number, std::span<const std::byte> state) {
  return XXH3_64bits_withSeed(state.data(), state.size(), number);
}

std::uint64_t checksum_of(std::span<const std::byte> lengths, const std::string& run) {
  return XXH3_64bits_withSeed(run.data(), run.size(), XXH3_64bits(lengths.data(), lengths.size()));
}

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& reason) {
  throw InvalidInput(fmt::format("{}: {}", path.string(), reason));
}

[[noreturn]] void refuse_damaged(const std::filesystem::path& path) {
  refuse(path, "is damaged, and cannot be gone on from; remove it to begin with the first step");
}

}  // namespace

KeptFile::KeptFile(std::filesystem::path path, std::string run, std::size_t state_bytes)
    : path_(std::move(path)), run_(std::move(run)), state_bytes_(state_bytes) {
  std::error_code failure;
  const auto status = std::filesystem::status(path_, failure);
  if (status.type() == std::filesystem::file_type::none) refuse(path_, failure.message());
  if (!std::filesystem::exists(status)) return;
  const InputFile file(path_);
  const Header own;
  auto theirs = decltype(own.mark){};
  const std::size_t length = std::min<std::size_t>(theirs.size(), file.num_bytes());
  file.read(0, std::as_writable_bytes(std::span(theirs).first(length)));
  if (theirs != own.mark) {
    refuse(path_, "has the name of what this run is to keep, and was kept by no run; remove it or rename it");
  }
}

KeptFile::Header KeptFile::make_header() const {
  Header header;
  header.run_bytes = run_.size();
  header.state_bytes = state_bytes_;
  header.checksum = checksum_of(bytes_of(header).first(offsetof(Header, checksum)), run_);
  return header;
}

std::uint64_t KeptFile::place_of(std::uint64_t number) const {
  return sizeof(Header) + run_.size() + number % 2 * (checksum_bytes + state_bytes_);
}

std::optional<KeptFile::State> KeptFile::resume() {
  std::error_code none;
  if (!std::filesystem::exists(path_, none)) return std::nullopt;
  read_header(InputFile(path_));  // says what is wrong for good, before anybody else's run matters
  open_for_writing();
  const InputFile file(path_);
  State state{read_header(file).number, std::vector<std::byte>(state_bytes_)};
  std::uint64_t checksum = 0;
  file.read(place_of(state.number), std::as_writable_bytes(std::span(&checksum, 1)));
  file.read(place_of(state.number) + checksum_bytes, state.bytes);
  if (checksum != checksum_of(state.number, state.bytes)) refuse_damaged(path_);
  return state;
}

KeptFile::Header KeptFile::read_header(const InputFile& file) const {
  const Header own = make_header();
  Header header;
  if (file.num_bytes() < sizeof header) refuse_damaged(path_);
  file.read(0, std::as_writable_bytes(std::span(&header, 1)));
  if (header.version != own.version) refuse(path_, "was kept by another version of moewe");
  if (header.run_bytes > max_run_bytes || file.num_bytes() < sizeof header + header.run_bytes) {
    refuse_damaged(path_);
  }
  std::string theirs(header.run_bytes, ' ');
  file.read(sizeof header, std::as_writable_bytes(std::span(theirs)));
  const auto lengths = bytes_of(header).first(offsetof(Header, checksum));
  if (header.checksum != checksum_of(lengths, theirs)) refuse_damaged(path_);
  check_run(file, theirs);
  if (header.state_bytes != state_bytes_) refuse(path_, "was kept by another version of moewe");
  const std::uint64_t whole = sizeof header + run_.size() + 2 * (checksum_bytes + state_bytes_);
  if (file.num_bytes() != whole) refuse_damaged(path_);
  return header;
}

void KeptFile::check_run(const InputFile& file, const std::string& theirs) const {
  if (theirs == run_) return;
  std::istringstream own_lines(run_), their_lines(theirs);
  std::string mine, kept;
  while (std::getline(own_lines, mine) && std::getline(their_lines, kept) && mine == kept) {
  }
  throw InvalidInput(
      fmt::format("{}: was kept by a run with {}, and this one has {}; --resume needs the same", file.path(),
                  kept, mine));
}

void KeptFile::open_for_writing() {
  file_ = FileDescriptor(open(path_.c_str(), O_RDWR | O_CLOEXEC));
  if (file_.get() < 0) refuse(path_, fmt::format("cannot be written: {}", std::strerror(errno)));
  if (flock(file_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    refuse(path_, "is still written by the run that keeps it");
  }
}

void KeptFile::keep(std::uint64_t number, std::span<const std::byte> state) {
  expects(state.size() == state_bytes_, "all states of a run have one length");
  if (file_.get() < 0) return create(number, state);
  const std::uint64_t checksum = checksum_of(number, state);
  write_at(place_of(number), bytes_of(checksum));
  write_at(place_of(number) + checksum_bytes, state);
  write_at(offsetof(Header, number), bytes_of(number));
}

void KeptFile::create(std::uint64_t number, std::span<const std::byte> state) {
  Header header = make_header();
  header.number = number;
  AtomicFile file(path_);
  file.append(bytes_of(header));
  file.append(std::as_bytes(std::span(run_)));
  const std::uint64_t checksum = checksum_of(number, state);
  for (int i = 0; i < 2; ++i) {  // in both places, of which one is the right one
    file.append(bytes_of(checksum));
    file.append(state);
  }
  file.commit();
  open_for_writing();
}

void KeptFile::write_at(std::uint64_t place, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(place));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) refuse(path_, fmt::format("cannot be written: {}", std::strerror(errno)));
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    place += static_cast<std::uint64_t>(written);
  }
}

void KeptFile::remove() noexcept {
  if (file_.get() >= 0) unlink(path_.c_str());
}

}  // namespace moewe
