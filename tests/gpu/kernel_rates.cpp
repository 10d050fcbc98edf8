#include "tests/gpu/kernel_rates.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

#include "runtime/kernels/combine_tokens.hpp"
#include "runtime/kernels/push_quantised.hpp"
#include "runtime/kernels/push_rows.hpp"
#include "tests/gpu/device_work.hpp"

namespace moewe::test {
namespace {

constexpr std::uint32_t num_tokens = 4096;
constexpr std::uint32_t hidden = 7168;
constexpr std::uint32_t top_k = 8;
constexpr std::size_t row_bytes = hidden * sizeof(Bf16);
constexpr std::uint32_t num_rows = num_tokens * top_k;

}  // namespace

double seconds_of(DeviceWork& work, const std::function<void()>& enqueue) {
  constexpr int runs = 20;
  std::vector<double> seconds;
  for (int round = 0; round < 9; ++round) {
    work.wait();
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < runs; ++i) enqueue();
    work.wait();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / runs);
  }
  std::nth_element(seconds.begin(), seconds.begin() + 4, seconds.end());
  return seconds[4];
}

namespace {

double rate(std::size_t bytes, double seconds) { return static_cast<double>(bytes) / seconds * 1e-9; }

double copy_rate(DeviceWork& work, std::byte* rows) {
  constexpr std::size_t half = num_rows / 2 * row_bytes;
  return rate(2 * half, seconds_of(work, [&] { work.queue().copy(rows + half, rows, half); }));
}

/// Every token to eight places, in a random order, which two ranks share.
PushRows plan_pushes(DeviceWork& work, const std::byte* rows, std::byte* to, std::size_t bytes_there) {
  std::vector<std::uint32_t> tokens(num_rows);
  std::iota(tokens.begin(), tokens.end(), 0U);
  for (std::uint32_t& token : tokens) token = token * 2654435761U % num_tokens;
  const std::vector<std::uint32_t> first_row{0, num_rows / 2, num_rows};
  const std::vector<std::byte*> destinations{to, to + num_rows / 2 * bytes_there};
  return {rows, work.put(tokens), work.put(first_row), work.put(destinations), row_bytes, 2, num_rows};
}

// A token's row is read once from memory, the cache permitting.

double push_rate(DeviceWork& work, const std::byte* rows, std::byte* to) {
  const PushRows push = plan_pushes(work, rows, to, row_bytes);
  const double seconds = seconds_of(work, [&] { work.queue().run(push_rows, push); });
  return rate((num_rows + num_tokens) * row_bytes, seconds);
}

double push_quantised_rate(DeviceWork& work, const std::byte* rows, std::byte* to) {
  const std::size_t bytes_there = quantised_row_bytes(hidden);
  const PushRows plan = plan_pushes(work, rows, to, bytes_there);
  const PushQuantised push{rows,   plan.tokens,    plan.first_row, plan.destinations,
                           hidden, plan.num_ranks, plan.max_rows,  Dtype::bf16};
  const double seconds = seconds_of(work, [&] { work.queue().run(push_quantised, push); });
  return rate(num_rows * bytes_there + num_tokens * row_bytes, seconds);
}

double combine_rate(DeviceWork& work, const std::byte* rows) {
  std::vector<const std::byte*> outputs;
  for (std::size_t i = 0; i < num_rows; ++i) outputs.push_back(rows + i * row_bytes);
  CombineTokens combine{};
  combine.outputs = work.put(outputs);
  combine.weights = work.put(std::vector<float>(num_rows, 0.125F));
  combine.y = work.room<float>(std::size_t{num_tokens} * hidden);
  combine.num_tokens = num_tokens;
  combine.top_k = top_k;
  combine.hidden = hidden;
  combine.dtype = Dtype::bf16;
  const double seconds = seconds_of(work, [&] { work.queue().run(combine_tokens, combine); });
  return rate(num_rows * row_bytes + std::size_t{num_tokens} * hidden * sizeof(float), seconds);
}

}  // namespace

std::vector<Rate> measure_rates(Device& device) {
  DeviceWork work(device);
  auto* const rows = work.room<std::byte>(num_rows * row_bytes);
  auto* const others = work.room<std::byte>(num_rows * row_bytes);
  work.queue().fill(rows, 0x3C, num_rows * row_bytes);
  const double copy = copy_rate(work, rows);
  const double push = push_rate(work, rows, others);
  const double quantised = push_quantised_rate(work, rows, others);
  const double combine = combine_rate(work, rows);
  const auto of_copy = [&](const char* name, double value) {
    return Rate{name, value, "GB", value / copy, "the copy"};
  };
  return {of_copy("copy on the device", copy), of_copy("push_rows", push),
          of_copy("push_quantised", quantised), of_copy("combine_tokens", combine)};
}

}  // namespace moewe::test
