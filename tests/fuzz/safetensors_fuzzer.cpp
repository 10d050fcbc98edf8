// The header of a safetensors file. The input is a whole file.

#include <algorithm>
#include <vector>

#include "runtime/safetensors.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace moewe {
namespace {

void check_layout(const TensorMap& tensors, std::uint64_t data_begin, std::uint64_t file_bytes) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> extents;
  for (const auto& [name, tensor] : tensors) {
    fuzz::require(name.find('\0') == std::string::npos, "names hold no NUL");
    fuzz::require(tensor.shape.size() <= 8, "at most 8 dimensions");
    fuzz::require(tensor.num_bytes <= file_bytes, "no tensor is larger than the file");
    if (tensor.dtype == "F32") {
      fuzz::require(tensor.num_elements() * 4 == tensor.num_bytes, "F32 has 4 bytes an element");
    }
    extents.emplace_back(tensor.offset, tensor.num_bytes);
  }
  std::sort(extents.begin(), extents.end());
  for (const auto& [begin, length] : extents) {
    fuzz::require(begin == data_begin, "tensors follow one another");
    data_begin += length;
  }
  fuzz::require(data_begin == file_bytes, "tensors cover the file");
}

}  // namespace
}  // namespace moewe

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace moewe;
  return fuzz::run(data, size, [](std::span<const std::byte> file) {
    const std::size_t length = parse_safetensors_prefix(file, file.size(), "INPUT");
    const std::string_view header = fuzz::as_text(file).substr(safetensors_prefix_bytes, length);
    check_layout(parse_safetensors_header(header, file.size(), "INPUT"), safetensors_prefix_bytes + length,
                 file.size());
  });
}
