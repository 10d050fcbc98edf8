#include "tests/gpu/device_checks.hpp"

#include <algorithm>
#include <exception>
#include <functional>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "comm/device_buffer.hpp"
#include "comm/error.hpp"
#include "tests/gpu/shown_page.hpp"

namespace moewe::test {
namespace {

constexpr std::size_t short_length = 1000;
constexpr std::size_t long_length = (std::size_t{5} << 20U) + 77;  // some of CUDA's blocks
constexpr std::size_t reserved = std::size_t{32} << 20U;

/// Memory of the device, as the host sees it once its queue has come there.
class Glimpse {
 public:
  Glimpse(Device& device, std::size_t length) : bytes_(device, meter_, "seen", length, MemoryKind::pinned) {}

  void take(Queue& queue, const std::byte* from) { queue.copy(bytes_.data(), from, bytes_.size()); }

  void expect(unsigned char value, std::size_t first, std::size_t last) const {
    const auto wrong = std::find_if(bytes_.data() + first, bytes_.data() + last,
                                    [&](std::byte byte) { return byte != std::byte{value}; });
    if (wrong == bytes_.data() + last) return;
    throw std::runtime_error("byte " + std::to_string(wrong - bytes_.data()) + " is " +
                             std::to_string(static_cast<int>(*wrong)) + ", not " + std::to_string(value));
  }

 private:
  MemoryMeter meter_;
  DeviceBuffer bytes_;
};

void end(Queue& queue) {
  wait_until([&] { return queue.is_idle(); }, "a queue");
}

/// Sets a flag at its end at the latest: a queue of a GPU would wait for ever, and memory is not freed
/// before.
struct AtLast {
  ~AtLast() { flags.set(flag); }
  ShownPage& flags;
  SharedFlag flag;
};

void order_by_events(Device& device) {
  MemoryMeter meter;
  DeviceBuffer memory(device, meter, "memory", long_length);
  Glimpse seen(device, long_length);
  const auto first = device.make_queue(), second = device.make_queue();
  const auto event = device.make_event();
  for (unsigned char value = 1; value < 20; ++value) {
    second->record(*event);  // not before it has been read
    first->wait_for(*event);
    first->fill(memory.data(), value, long_length);
    first->record(*event);
    second->wait_for(*event);
    seen.take(*second, memory.data());
    end(*second);
    seen.expect(value, 0, long_length);
  }
}

void order_by_flags(Device& device) {
  MemoryMeter meter;
  DeviceBuffer memory(device, meter, "memory", long_length);
  Glimpse seen(device, long_length);
  ShownPage flags(device);
  const auto first = device.make_queue(), second = device.make_queue();
  first->fill(memory.data(), 1, long_length);
  end(*first);
  const AtLast written{flags, SharedFlag::written};
  second->wait_for_flag(flags.on_device(SharedFlag::written), 1);
  seen.take(*second, memory.data());
  second->set_flag(flags.on_device(SharedFlag::grown), 1);
  if (second->is_idle()) throw std::runtime_error("a queue does not wait for a flag");
  first->fill(memory.data(), 2, long_length);
  first->set_flag(flags.on_device(SharedFlag::written), 1);
  wait_until([&] { return flags.is_set(SharedFlag::grown); }, "a wait for a flag");
  seen.expect(2, 0, long_length);
  end(*first);
  end(*second);
}

void grow(Device& device) {
  const auto memory = device.share(short_length, reserved);
  std::byte* const begin = memory->data();
  const auto queue = device.make_queue();
  Glimpse seen(device, long_length);
  queue->fill(begin, 3, short_length);
  end(*queue);
  memory->grow(long_length);
  if (memory->data() != begin) throw std::runtime_error("memory moves where it grows");
  queue->fill(begin + short_length, 4, long_length - short_length);
  seen.take(*queue, begin);
  end(*queue);
  seen.expect(3, 0, short_length);
  seen.expect(4, short_length, long_length);
}

/// This program once more.
class SecondProcess {
 public:
  explicit SecondProcess(const std::string& told) {
    std::string program = "/proc/self/exe", argument = second_argument, text = told;
    char* const arguments[] = {program.data(), argument.data(), text.data(), nullptr};
    if (posix_spawn(&process_, program.c_str(), nullptr, nullptr, arguments, environ) != 0)
      throw std::runtime_error("a second process cannot be started");
  }
  ~SecondProcess() {
    if (!has_ended_) end();
  }
  SecondProcess(const SecondProcess&) = delete;
  SecondProcess& operator=(const SecondProcess&) = delete;

  /// Throws where it has ended, which it has not been told to.
  void expect_running() {
    int status = 0;
    if (waitpid(process_, &status, WNOHANG) == 0) return;
    has_ended_ = true;
    throw std::runtime_error("the second process has ended");
  }

  /// Its exit code; it ends by itself.
  int end() {
    int status = 0;
    waitpid(process_, &status, 0);
    has_ended_ = true;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t process_ = 0;
  bool has_ended_ = false;
};

void share_with_another(Device& device, std::size_t most) {
  const std::size_t length = most > long_length ? short_length : long_length;
  const auto memory = device.share(length, most);
  ShownPage flags(device);
  const auto queue = device.make_queue();
  Glimpse seen(device, long_length);
  queue->fill(memory->data(), 1, length);
  end(*queue);
  const AtLast written{flags, SharedFlag::written};
  SecondProcess second(
      text_of({memory->handle(), most, long_length, getpid(), flags.file(), device.is_emulated()}));
  const auto is_there = [&](SharedFlag flag) {
    if (!flags.is_set(flag)) second.expect_running();
    return flags.is_set(flag);
  };
  wait_until([&] { return is_there(SharedFlag::opened); }, "a wait for the other process");
  memory->grow(long_length);
  flags.set(SharedFlag::grown);
  queue->wait_for_flag(flags.on_device(SharedFlag::written), 1);
  seen.take(*queue, memory->data());
  end(*queue);
  seen.expect(told_value, 0, long_length);
  if (second.end() != 0) throw std::runtime_error("the second process has failed");
}

}  // namespace

std::vector<Check> check_device(Device& device) {
  std::vector<Check> checks;
  const auto check = [&](const char* name, const std::function<void()>& work) {
    checks.push_back({name, ""});
    try {
      work();
    } catch (const std::exception& error) {
      checks.back().failure = error.what();
    }
  };
  check("events order queues", [&] { order_by_events(device); });
  check("flags in host memory order queues", [&] { order_by_flags(device); });
  check("memory grows where it lies", [&] { grow(device); });
  check("another process pushes behind a flag", [&] { share_with_another(device, long_length); });
  check("another process follows memory that grows", [&] { share_with_another(device, reserved); });
  return checks;
}

}  // namespace moewe::test
