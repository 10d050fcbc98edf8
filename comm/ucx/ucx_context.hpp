#pragma once

#include <memory>
#include <ucp/api/ucp.h>

namespace moewe {

struct UcxContextEnd {
  void operator()(ucp_context_h context) const { ucp_cleanup(context); }
};
using UcxContext = std::unique_ptr<ucp_context, UcxContextEnd>;

/// With the environment's settings. UCX is told to be silent, since what goes wrong is thrown and told once.
UcxContext make_ucx_context(const ucp_params_t& params);

/// Whether UCX, with what it has loaded here, carries CUDA memory.
bool knows_memory_of_gpus(const UcxContext& context);

}  // namespace moewe
