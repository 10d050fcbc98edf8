// A recorded trace, safetensors or .npy. The input is a whole file.

#include <algorithm>

#include "launch/npy_header.hpp"
#include "launch/trace_layout.hpp"
#include "runtime/safetensors.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace moewe {
namespace {

TraceLayout parse(std::span<const std::byte> file) {
  if (is_npy(file)) {
    const auto first_bytes = file.first(std::min(file.size(), npy_first_bytes));
    return layout_of_npy(first_bytes, file.size(), "INPUT");
  }
  const std::size_t length = parse_safetensors_prefix(file, file.size(), "INPUT");
  const std::string_view header = fuzz::as_text(file).substr(safetensors_prefix_bytes, length);
  return layout_of_safetensors(parse_safetensors_header(header, file.size(), "INPUT"), "INPUT");
}

/// The array's bytes; they must lie in the file.
std::span<const std::byte> bytes_of(const TraceArray& array, std::size_t count,
                                    std::span<const std::byte> file) {
  fuzz::require(array.offset <= file.size(), "arrays begin in the file");
  const std::size_t element = bytes_per_element(array.dtype);
  fuzz::require(count <= (file.size() - array.offset) / element, "arrays end in the file");
  return file.subspan(array.offset, count * element);
}

}  // namespace
}  // namespace moewe

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace moewe;
  return fuzz::run(data, size, [](std::span<const std::byte> file) {
    const TraceLayout layout = parse(file);
    const std::size_t count = layout.steps * layout.layers * layout.tokens * layout.top_k;
    fuzz::require(count > 0 && count <= file.size(), "a trace is neither empty nor larger than its file");
    fuzz::require(layout.tokens_per_layer() % layout.tokens_per_step == 0, "steps are whole");
    const auto ids = bytes_of(layout.ids, count, file);
    for (std::size_t i = 0; i < count; ++i) {
      const std::int64_t id = id_at(ids, layout.ids.dtype, i);
      fuzz::require(layout.ids.dtype != "U8" || (id >= 0 && id < 256), "ids are those of their type");
    }
    if (!layout.weights) return;
    const auto weights = bytes_of(*layout.weights, count, file);
    for (std::size_t i = 0; i < count; ++i) static_cast<void>(weight_at(weights, layout.weights->dtype, i));
  });
}
