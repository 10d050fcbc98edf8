// A JSON file of loads. The input is its text.

#include "launch/load_file.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace moewe;
  return fuzz::run(data, size, [](std::span<const std::byte> text) {
    const LoadHistory history = parse_loads(std::string(fuzz::as_text(text)), "INPUT");
    fuzz::require(history.num_layers() > 0 && history.num_experts() > 0, "something is loaded");
    fuzz::require(history.windows().size() <= history.options().num_windows, "windows are bounded");
    fuzz::require(parse_loads(to_json(history), "INPUT") == history, "what is written is read alike");
    for (std::size_t layer = 0; layer < history.num_layers(); ++layer) {
      fuzz::require(history.drift(layer).distance <= 1'000'000'000, "no more can drift than there is");
    }
  });
}
