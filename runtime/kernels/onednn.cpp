#include "runtime/kernels/onednn.hpp"

namespace moewe::onednn {

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

dnnl::matmul::primitive_desc describe_matmul(const dnnl::memory::desc& x, const dnnl::memory::desc& weights,
                                             const dnnl::memory::desc& y) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR >= 3
  return {engine(), x, weights, y, attributes};
#else
  return {dnnl::matmul::desc(x, weights, y), attributes, engine()};
#endif
}

}  // namespace moewe::onednn
