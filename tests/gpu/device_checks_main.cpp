// What devices do without kernels, on a GPU, or with --emulated on the host. Prints a line for each check.

#include <cstdio>
#include <string_view>

#include "tests/gpu/device_checks.hpp"
#include "tests/gpu/second_process.hpp"

namespace {

using namespace moewe;

int print_checks(Device& device) {
  bool is_right = true;
  std::printf("%s\n", device.description().c_str());
  for (const test::Check& check : test::check_device(device)) {
    is_right = is_right && check.failure.empty();
    std::printf("  %-58s %s\n", check.name.c_str(), check.failure.empty() ? "right" : check.failure.c_str());
  }
  return is_right ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view argument = argc > 1 ? argv[1] : "";
  if (argument == test::second_argument && argc > 2) return test::run_second(argv[2]);
  const DeviceOffer offer =
      choose_device(argument == "--emulated" ? DeviceChoice::cpu : DeviceChoice::gpu, 0);
  if (offer.device) return print_checks(*offer.device);
  std::printf("[  SKIPPED ] all: %s\n", offer.reason_for_none.c_str());
  return 77;
}
