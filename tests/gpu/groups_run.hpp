#pragma once

#include <cmath>
#include <numeric>

#include "runtime/kernels/multiply_groups.hpp"
#include "tests/gpu/device_work.hpp"
#include "tests/gpu/random_values.hpp"

namespace moewe::test {

struct GroupsCase {
  std::vector<std::uint32_t> num_rows;  ///< of each group
  std::uint32_t in;
  std::uint32_t out;
  Dtype dtype;
  Dtype output_dtype;

  std::size_t all_rows() const { return std::accumulate(num_rows.begin(), num_rows.end(), std::size_t{0}); }
};

struct GroupsResult {
  std::vector<std::byte> outputs;  ///< [all rows, out]
  Dtype dtype;

  float at(std::size_t i) const {
    if (dtype == Dtype::f32) return reinterpret_cast<const float*>(outputs.data())[i];
    return widen(reinterpret_cast<const Bf16*>(outputs.data())[i]);
  }
};

/// A case on a device; groups lie there in another order than they are named in.
class GroupsMemory {
 public:
  GroupsMemory(const GroupsCase& c, Device& device) : case_(c), work_(device) {
    Random random(c.in + c.out);
    const std::size_t matrix = std::size_t{c.in} * c.out;
    const std::size_t element = bytes_of(c.dtype);
    std::byte* const weights = put(random, c.num_rows.size() * matrix);
    std::byte* const inputs = put(random, c.all_rows() * c.in);
    outputs_ = work_.room<std::byte>(c.all_rows() * c.out * bytes_of(c.output_dtype));
    std::size_t row = 0;
    for (std::size_t group = 0; group < c.num_rows.size(); row += c.num_rows[group++]) {
      weights_.push_back(weights + (c.num_rows.size() - 1 - group) * matrix * element);
      inputs_.push_back(inputs + row * c.in * element);
      outputs_of_groups_.push_back(outputs_ + row * c.out * bytes_of(c.output_dtype));
    }
    work_arguments_ = {nullptr,
                       case_.num_rows.data(),
                       {work_.put(weights_), work_.put(inputs_), work_.put(outputs_of_groups_)},
                       {weights_.data(), inputs_.data(), outputs_of_groups_.data()},
                       static_cast<std::uint32_t>(c.num_rows.size()),
                       c.in,
                       c.out,
                       c.dtype,
                       c.output_dtype};
  }

  MultiplyGroups arguments(GroupedMatmul* library) const {
    MultiplyGroups arguments = work_arguments_;
    arguments.library = library;
    return arguments;
  }
  Queue& queue() { return work_.queue(); }
  GroupsResult result() {
    return {work_.get(outputs_, case_.all_rows() * case_.out * bytes_of(case_.output_dtype)),
            case_.output_dtype};
  }

 private:
  std::byte* put(Random& random, std::size_t count) {
    if (case_.dtype == Dtype::f32)
      return reinterpret_cast<std::byte*>(work_.put(draw_values<float>(random, count)));
    return reinterpret_cast<std::byte*>(work_.put(draw_values<Bf16>(random, count)));
  }

  GroupsCase case_;
  std::vector<const std::byte*> weights_, inputs_;
  std::vector<std::byte*> outputs_of_groups_;
  DeviceWork work_;
  MultiplyGroups work_arguments_{};
  std::byte* outputs_ = nullptr;
};

inline GroupsResult run(const GroupsCase& c, Device& device, GroupedMatmul* library = nullptr) {
  GroupsMemory memory(c, device);
  run_groups(memory.queue(), memory.arguments(library));
  return memory.result();
}

/// Sums of up to a few hundred products of values below 1, in another order.
inline bool is_same(const GroupsResult& a, const GroupsResult& b) {
  if (a.outputs.size() != b.outputs.size()) return false;
  const float relative = a.dtype == Dtype::bf16 ? 0x1p-7F : 1e-5F;
  for (std::size_t i = 0; i < a.outputs.size() / bytes_of(a.dtype); ++i) {
    if (!(std::abs(a.at(i) - b.at(i)) <= relative * std::abs(b.at(i)) + 1e-4F)) return false;
  }
  return true;
}

inline std::vector<GroupsCase> groups_cases() {
  constexpr Dtype f32 = Dtype::f32, bf16 = Dtype::bf16;
  return {{{}, 8, 8, f32, f32},
          {{1}, 4, 4, f32, f32},
          {{3, 40, 1, 7}, 64, 36, f32, f32},
          {{130, 2}, 136, 72, bf16, bf16},
          {{9, 1, 37}, 72, 20, bf16, f32},
          {{5, 33, 64}, 40, 200, bf16, bf16}};
}

}  // namespace moewe::test
