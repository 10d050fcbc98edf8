#pragma once

#include "runtime/kernels/combine_tokens.hpp"
#include "tests/gpu/device_work.hpp"
#include "tests/gpu/random_values.hpp"

namespace moewe::test {

struct CombineShape {
  std::size_t num_tokens;
  std::size_t top_k;
  std::size_t hidden;
  Dtype dtype;
  bool add_to_y;
  bool is_weighted;   ///< else each row counts once
  std::size_t shift;  ///< elements before the first row
};

/// A token's k-th row is the (token * top_k + k)-th of `rows`, in one of the types; some did not come back.
struct CombineCase {
  CombineCase(const CombineShape& of, unsigned int seed) : shape(of) {
    Random random(seed);
    const std::size_t count = shape.num_tokens * shape.top_k;
    f32 = draw_values<float>(random, shape.dtype == Dtype::f32 ? count * shape.hidden : 0);
    bf16 = draw_values<Bf16>(random, shape.dtype == Dtype::bf16 ? count * shape.hidden : 0);
    weights = draw_floats(random, count);
    y = draw_floats(random, shape.num_tokens * shape.hidden);
    for (std::size_t i = 0; i < count; ++i) has_returned.push_back(draw(random, 0, 9) > 0);
  }

  std::size_t row_bytes() const { return shape.hidden * bytes_of(shape.dtype); }

  CombineShape shape;
  std::vector<float> f32;
  std::vector<Bf16> bf16;
  std::vector<float> weights;
  std::vector<float> y;
  std::vector<bool> has_returned;
};

inline std::vector<float> run(const CombineCase& c, Device& device) {
  const CombineShape& shape = c.shape;
  DeviceWork work(device);
  const std::byte* const rows = shape.dtype == Dtype::f32
                                    ? reinterpret_cast<const std::byte*>(work.put(c.f32, shape.shift))
                                    : reinterpret_cast<const std::byte*>(work.put(c.bf16, shape.shift));
  std::vector<const std::byte*> outputs;
  for (std::size_t i = 0; i < c.has_returned.size(); ++i)
    outputs.push_back(c.has_returned[i] ? rows + i * c.row_bytes() : nullptr);
  CombineTokens arguments{};
  arguments.outputs = work.put(outputs);
  arguments.weights = shape.is_weighted ? work.put(c.weights) : nullptr;
  arguments.y = work.put(c.y, shape.shift);
  arguments.num_tokens = known_to_one(work, static_cast<std::uint32_t>(shape.num_tokens));
  arguments.top_k = static_cast<std::uint32_t>(shape.top_k);
  arguments.hidden = static_cast<std::uint32_t>(shape.hidden);
  arguments.dtype = shape.dtype;
  arguments.addend = shape.add_to_y ? arguments.y : nullptr;
  work.queue().run(combine_tokens, arguments);
  return work.get(arguments.y, c.y.size());
}

inline std::vector<CombineCase> combine_cases() {
  std::vector<CombineCase> cases;
  unsigned int seed = 0;
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    cases.emplace_back(CombineShape{0, 2, 8, dtype, false, true, 0}, ++seed);
    cases.emplace_back(CombineShape{5, 1, 1, dtype, true, true, 0}, ++seed);
    cases.emplace_back(CombineShape{7, 8, 64, dtype, false, true, 0}, ++seed);
    cases.emplace_back(CombineShape{7, 3, 2051, dtype, true, true, 0}, ++seed);
    cases.emplace_back(CombineShape{3, 9, 1000, dtype, true, false, 1}, ++seed);
    cases.emplace_back(CombineShape{33, 4, 136, dtype, false, false, 3}, ++seed);
  }
  return cases;
}

}  // namespace moewe::test
