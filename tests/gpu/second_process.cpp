#include "tests/gpu/second_process.hpp"

#include <atomic>
#include <cstdio>
#include <cstring>
#include <exception>

#include "comm/error.hpp"
#include "tests/gpu/shown_page.hpp"

namespace moewe::test {
namespace {

constexpr char digits[] = "0123456789abcdef";

Told told_by(const std::string& text) {
  Told told;
  expects(text.size() == 2 * sizeof told, "what the second process is told is as long as it is");
  const auto digit = [&](std::size_t at) {
    return static_cast<unsigned int>(std::strchr(digits, text[at]) - digits);
  };
  auto* const bytes = reinterpret_cast<unsigned char*>(&told);
  for (std::size_t i = 0; i < sizeof told; ++i)
    bytes[i] = static_cast<unsigned char>(digit(2 * i) << 4U | digit(2 * i + 1));
  return told;
}

void fill_behind_a_flag(const Told& told, Device& device) {
  ShownPage flags(device, told.process, told.flags);
  const auto memory = device.open(told.memory, told.reserved);
  std::byte* const begin = memory->data();
  flags.set(SharedFlag::opened);
  flags.wait_for(SharedFlag::grown);
  memory->follow();
  expects(memory->data() == begin, "memory grows where it lies");
  const auto queue = device.make_queue();
  queue->fill(begin, told_value, told.length);
  queue->set_flag(flags.on_device(SharedFlag::written), 1);
  wait_until([&] { return queue->is_idle(); }, "the second process's queue");
}

}  // namespace

std::string text_of(const Told& told) {
  std::string text;
  const auto* const bytes = reinterpret_cast<const unsigned char*>(&told);
  for (std::size_t i = 0; i < sizeof told; ++i) {
    text += digits[bytes[i] >> 4U];
    text += digits[bytes[i] & 0xFU];
  }
  return text;
}

int run_second(const std::string& text) {
  try {
    const Told told = told_by(text);
    const DeviceOffer offer = choose_device(told.is_emulated ? DeviceChoice::cpu : DeviceChoice::gpu, 0);
    if (!offer.device) throw Error(ErrorKind::communication, offer.reason_for_none);
    fill_behind_a_flag(told, *offer.device);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "second process: %s\n", error.what());
    return 1;
  }
}

}  // namespace moewe::test
