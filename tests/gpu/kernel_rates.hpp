#pragma once

#include <functional>
#include <string>
#include <vector>

#include "comm/device.hpp"
#include "tests/gpu/device_work.hpp"

namespace moewe::test {

/// How fast a kernel is, beside the limit that is measured in the same run.
struct Rate {
  std::string name;
  double value;       ///< in `unit`s per second
  const char* unit;   ///< "GB", "TFLOP"
  double share;       ///< of the limit; 0 where that is not known
  const char* limit;  ///< for people
};

/// Seconds of one run: the median of several, each of so many runs that their start does not count.
double seconds_of(DeviceWork& work, const std::function<void()>& enqueue);

/// Of a copy on the device, and of kernels that move rows: 4096 tokens of 7168 values in bf16, top-8.
std::vector<Rate> measure_rates(Device& device);

/// Of experts' matmuls: 32 experts of hidden size 7168 and intermediate size 2048 in bf16, with many rows for
/// each beside a dense matmul of cuBLAS, and with few beside the copy, which took so many GB/s.
std::vector<Rate> measure_matmuls(Device& device, double copy);

/// Of a decode step on one rank: 128 tokens, top-8 of those 32 experts, kernel by kernel and as one graph, by
/// what its kernels have to move at least, beside the copy. Not yet run on a GPU.
std::vector<Rate> measure_steps(Device& device, double copy);

/// The same experts with 512 rows each by cuBLAS's grouped matmuls, beside a dense one that reached so many
/// TFLOP/s; and how many of their cases differ from the twin. None where there is no cuBLAS.
std::vector<Rate> measure_groups(Device& device, double dense);
std::vector<struct Comparison> compare_groups(Device& device, Device& twin);

/// TFLOP/s of a large matmul in bf16 by cuBLAS; 0 where the tests are built without it.
double dense_rate(Device& device);

}  // namespace moewe::test
