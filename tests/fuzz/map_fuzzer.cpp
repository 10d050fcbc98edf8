// A file of placements, JSON or YAML. The input is its text.

#include "launch/placement_map.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace moewe;
  return fuzz::run(data, size, [](std::span<const std::byte> text) {
    const PlacementMap map =
        parse_placement_map(std::string(fuzz::as_text(text)), {2, std::nullopt}, "INPUT");
    fuzz::require(!map.empty(), "a layer is placed");
    for (const auto& [layer, placement] : map) {
      fuzz::require(placement.num_ranks() == 2, "as many ranks as were asked for");
      fuzz::require(placement.num_experts() == map.begin()->second.num_experts(),
                    "the same experts in all layers");
    }
    fuzz::require(digest(parse_placement_map(moewe_map(map), {2, std::nullopt}, "INPUT")) == digest(map),
                  "what is written is read alike");
  });
}
