#include "launch/bench_rows.hpp"

#include <algorithm>

#include "runtime/kernels/elementwise.hpp"

namespace moewe {

std::vector<std::byte> bench_rows(const TokenSource& source, TokenRange tokens, const LayerSpec& spec,
                                  Dtype dtype) {
  std::vector<float> values(tokens.count * spec.expert.hidden);
  source.read(0, 0, tokens, values);
  std::vector<std::byte> rows(values.size() * bytes_of(dtype));
  if (dtype == Dtype::bf16) {
    round_to_bf16(values, {reinterpret_cast<Bf16*>(rows.data()), values.size()});
  } else {
    std::copy_n(reinterpret_cast<const std::byte*>(values.data()), rows.size(), rows.begin());
  }
  return rows;
}

}  // namespace moewe
