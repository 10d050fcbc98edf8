#pragma once

#include <cstddef>
#include <oneapi/dnnl/dnnl.hpp>

namespace moewe::onednn {

/// The only file that knows which oneDNN API this is: matmul descriptors changed between 2.x and 3.x.
dnnl::matmul::primitive_desc describe_matmul(const dnnl::memory::desc& x, const dnnl::memory::desc& weights,
                                             const dnnl::memory::desc& y);

const dnnl::engine& engine();

}  // namespace moewe::onednn
