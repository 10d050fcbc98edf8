#include "runtime/safetensors_writer.hpp"

#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>

#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr std::size_t element_bytes = 4;  // F32 and I32
constexpr std::size_t header_alignment = 8;

std::size_t bytes_of(const SafetensorsWriter::Tensor& tensor) {
  std::size_t bytes = element_bytes;
  for (const std::size_t length : tensor.shape) bytes *= length;
  return bytes;
}

/// The header with its length before it, padded so that the data begins aligned.
std::string make_header(const std::vector<SafetensorsWriter::Tensor>& tensors) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  std::size_t offset = 0;
  for (const auto& tensor : tensors) {
    const std::size_t end = offset + bytes_of(tensor);
    header[tensor.name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + header_alignment - 1) / header_alignment * header_alignment, ' ');
  const std::uint64_t length = text.size();
  std::string prefix(sizeof length, '\0');
  std::memcpy(prefix.data(), &length, sizeof length);
  return prefix + text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, const std::vector<Tensor>& tensors)
    : file_(path) {
  const std::string header = make_header(tensors);
  bytes_left_ = header.size();
  for (const auto& tensor : tensors) bytes_left_ += bytes_of(tensor);
  append(std::as_bytes(std::span(header)));
}

void SafetensorsWriter::append(std::span<const std::byte> bytes) {
  expects(bytes.size() <= bytes_left_, "a safetensors file gets no more bytes than its header declares");
  file_.append(bytes);
  bytes_left_ -= bytes.size();
}

void SafetensorsWriter::commit() {
  expects(bytes_left_ == 0, "a safetensors file gets all bytes that its header declares");
  file_.commit();
}

}  // namespace moewe
