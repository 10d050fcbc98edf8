#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace moewe {

/// What the beginning of a .npy file says of the array behind it.
struct NpyHeader {
  std::string descr;  ///< type of its elements, as numpy writes it: "<i4"
  bool fortran_order = false;
  std::vector<std::size_t> shape;
  std::uint64_t data_offset = 0;  ///< of the first element, in bytes from the start of the file
};

/// Bytes of a file that a header lies in at most.
inline constexpr std::size_t npy_first_bytes = 64 << 10;

/// Whether a file with these first bytes says of itself that it is a .npy file.
bool is_npy(std::span<const std::byte> first_bytes);

/// Of a file of version 1.0 to 3.0. `first_bytes` is the file, or its first npy_first_bytes. Throws
/// InvalidInput that begins with `where` for anything else.
NpyHeader read_npy_header(std::span<const std::byte> first_bytes, const std::string& where);

}  // namespace moewe
