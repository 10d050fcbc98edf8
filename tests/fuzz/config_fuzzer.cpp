// config.json.

#include <algorithm>

#include "runtime/model_config.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace moewe;
  return fuzz::run(data, size, [](std::span<const std::byte> text) {
    const ModelConfig config = parse_model_config(std::string(fuzz::as_text(text)), "INPUT");
    check_layer_spec(config.layer, "INPUT of what was accepted");
    const RouterSpec& router = config.layer.router;
    fuzz::require(router.top_k >= 1 && router.top_k <= config.layer.num_experts, "k experts can be chosen");
    fuzz::require(config.layer.expert.hidden > 0 && config.layer.expert.intermediate > 0, "no size is 0");
    fuzz::require(router.num_groups > 0 && config.layer.num_experts % router.num_groups == 0,
                  "groups are equally large");
    fuzz::require(router.kept_groups >= 1 && router.kept_groups <= router.num_groups, "kept groups exist");
    fuzz::require(!config.moe_layers.empty(), "there is a MoE layer");
    fuzz::require(std::is_sorted(config.moe_layers.begin(), config.moe_layers.end()), "layers ascend");
    fuzz::require(config.moe_layers.back() < config.num_layers, "MoE layers exist");
    for (const std::size_t layer : {config.moe_layers.front(), config.moe_layers.back()}) {
      fuzz::require(!tensor_name(config.names.router, layer).empty(), "the router's tensor has a name");
    }
  });
}
