#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fstream>
#include <string>
#include <vector>

namespace moewe::test {

/// A tensor of a file that a test writes.
struct TensorBytes {
  std::string name;
  std::string dtype;
  std::vector<std::size_t> shape;
  std::string bytes;
};

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

/// The upper halves; exact for values that bf16 can hold.
inline std::string bf16_bytes_of(const std::vector<float>& values) {
  std::vector<std::uint16_t> halves;
  for (const float value : values) {
    halves.push_back(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16));
  }
  return bytes_of(halves);
}

/// A whole safetensors file.
inline std::string safetensors_bytes(const std::vector<TensorBytes>& tensors) {
  std::string header, data;
  for (const auto& [name, dtype, shape, bytes] : tensors) {
    header += fmt::format(R"({}"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                          header.empty() ? "{" : ",", name, dtype, fmt::join(shape, ","), data.size(),
                          data.size() + bytes.size());
    data += bytes;
  }
  header += header.empty() ? "{}" : "}";
  return bytes_of(std::vector<std::uint64_t>{header.size()}) + header + data;
}

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// The message that `act` throws as an Error; "" when it throws none.
template <typename Error, typename Act>
std::string message_of(Act&& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace moewe::test
