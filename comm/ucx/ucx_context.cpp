#include "comm/ucx/ucx_context.hpp"

#include <cstdlib>

#include "comm/ucx/check.hpp"

namespace moewe {
namespace {

using ConfigOwner = std::unique_ptr<ucp_config_t, decltype(&ucp_config_release)>;

/// The environment's settings. UCX is told to be silent, since what goes wrong is thrown and told once.
ConfigOwner read_config() {
  ucp_config_t* config = nullptr;
  check_ucx(ucp_config_read(nullptr, nullptr, &config));
  ConfigOwner owner(config, ucp_config_release);
  if (std::getenv("UCX_LOG_LEVEL") == nullptr) check_ucx(ucp_config_modify(config, "LOG_LEVEL", "fatal"));
  return owner;
}

}  // namespace

UcxContext make_ucx_context(const ucp_params_t& params) {
  const ConfigOwner config = read_config();
  ucp_context_h context = nullptr;
  check_ucx(ucp_init(&params, config.get(), &context));
  return UcxContext(context);
}

bool knows_memory_of_gpus(const UcxContext& context) {
  ucp_context_attr_t attributes{};
  attributes.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES;
  check_ucx(ucp_context_query(context.get(), &attributes));
  return (attributes.memory_types & UCS_BIT(UCS_MEMORY_TYPE_CUDA)) != 0;
}

}  // namespace moewe
