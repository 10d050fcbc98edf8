#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/shm/segment.hpp"
#include "runtime/input_file.hpp"

namespace moewe {

/// What a run has computed so far, for whoever goes on with it: the latest of its states, each of which takes
/// the place of the one before. The file appears with the first, and has a whole state from then on, whenever
/// the process ends: each is written beside the one before it, which stays until one word says that the new
/// one is there. It outlives the process by no work of the process's; the end of the machine it outlives as
/// any file does that was just written.
///
///   | mark, version, lengths, checksum | number of the latest state | what was run | state | state |
class KeptFile {
 public:
  struct State {
    std::uint64_t number = 0;  ///< from 1, and larger than that of the state before
    std::vector<std::byte> bytes;
  };

  /// `run` holds a line for everything that the results of the run depend on; states have `state_bytes` each.
  /// Touches no file. Throws InvalidInput where there is something of that name that no run has kept.
  KeptFile(std::filesystem::path path, std::string run, std::size_t state_bytes);

  const std::filesystem::path& path() const { return path_; }

  /// The latest state, or none where there is no file; it is this object's to write from now on. Throws
  /// InvalidInput when it was kept by another run, by another version, or by one that has not ended, and when
  /// it is damaged.
  std::optional<State> resume();

  /// What was kept by an earlier run, and was not resumed, is replaced. Throws InvalidInput when the file
  /// cannot be written.
  void keep(std::uint64_t number, std::span<const std::byte> state);

  /// Once the run is done. Never fails: what stays is of no harm.
  void remove() noexcept;

 private:
  struct Header;

  Header make_header() const;
  std::uint64_t place_of(std::uint64_t number) const;
  void create(std::uint64_t number, std::span<const std::byte> state);
  void open_for_writing();
  Header read_header(const InputFile& file) const;
  void check_run(const InputFile& file, const std::string& theirs) const;
  void write_at(std::uint64_t place, std::span<const std::byte> bytes) const;

  std::filesystem::path path_;
  std::string run_;
  std::size_t state_bytes_;
  FileDescriptor file_;  // once there is something to write to
};

}  // namespace moewe
