// A JSON file of costs. The input is its text.

#include "launch/cost_file.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace moewe;
  return fuzz::run(data, size, [](std::span<const std::byte> text) {
    const CostCoefficients costs = parse_costs(std::string(fuzz::as_text(text)), 2, "INPUT");
    fuzz::require(costs.top_k > 0 && costs.tile_rows > 0, "a step can be counted");
    fuzz::require(parse_costs(to_json(costs), 2, "INPUT") == costs, "what is written is read alike");
  });
}
