#include "runtime/combine.hpp"

#include <algorithm>

#include "runtime/kernels/elementwise.hpp"
#include "runtime/parallel.hpp"

namespace moewe {

void combine(const Routing& routing, const ReturnTable& returned, std::span<float> y, std::size_t hidden,
             std::size_t num_threads) {
  parallel_for(num_threads, routing.num_tokens, [&](std::size_t token, std::size_t) {
    const std::span<float> sum = y.subspan(token * hidden, hidden);
    std::fill(sum.begin(), sum.end(), 0.0F);
    for (std::size_t k = 0; k < routing.top_k; ++k) {
      const auto* output = reinterpret_cast<const float*>(returned.output(token, k));
      if (output == nullptr) continue;
      add_weighted(routing.weights[token * routing.top_k + k], {output, hidden}, sum);
    }
  });
}

}  // namespace moewe
