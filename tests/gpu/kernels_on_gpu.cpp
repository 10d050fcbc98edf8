// Every kernel on a GPU against its twin, on the same cases, and with --rates how fast some are. Exit codes:
// 0 all alike, 1 some differ, 77 there is no GPU.

#include <cstdio>
#include <exception>
#include <string_view>

#include "comm/device.hpp"
#include "tests/gpu/kernel_rates.hpp"
#include "tests/gpu/same_on_both.hpp"

namespace {

using namespace moewe;

bool print_comparisons(Device& gpu) {
  const auto twin = choose_device(DeviceChoice::cpu, 0).device;
  bool is_right = true;
  std::vector<test::Comparison> comparisons = test::compare_all(gpu, *twin);
  for (const test::Comparison& c : test::compare_groups(gpu, *twin)) comparisons.push_back(c);
  for (const test::Comparison& c : comparisons) {
    is_right = is_right && c.num_different == 0;
    std::printf("  %-58s %3zu cases, %zu differ\n", c.kernels, c.num_cases, c.num_different);
  }
  return is_right;
}

void print(const std::vector<test::Rate>& rates) {
  for (const test::Rate& rate : rates)
    std::printf("  %-58s %7.0f %s/s, %.2f of %s\n", rate.name.c_str(), rate.value, rate.unit, rate.share,
                rate.limit);
}

void print_rates(Device& gpu) {
  const std::vector<test::Rate> rates = test::measure_rates(gpu);
  print(rates);
  const std::vector<test::Rate> matmuls = test::measure_matmuls(gpu, rates.front().value);
  print(matmuls);
  print(test::measure_groups(gpu, matmuls.front().value));
  print(test::measure_steps(gpu, rates.front().value));
}

}  // namespace

int main(int argc, char** argv) {
  const bool has_rates = argc > 1 && std::string_view(argv[1]) == "--rates";
  try {
    const DeviceOffer offer = choose_device(DeviceChoice::gpu, 0);
    if (!offer.device) {
      std::printf("[  SKIPPED ] all: %s\n", offer.reason_for_none.c_str());
      return 77;
    }
    std::printf("%s\n", offer.device->description().c_str());
    const bool is_right = print_comparisons(*offer.device);
    if (has_rates) print_rates(*offer.device);
    return is_right ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kernels_on_gpu: %s\n", error.what());
    return 1;
  }
}
