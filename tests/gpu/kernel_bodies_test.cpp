// The bodies of kernels, run thread by thread on the host, against their twins.

#include <gtest/gtest.h>

#include "tests/gpu/kernels_on_host.hpp"
#include "tests/gpu/same_on_both.hpp"

namespace moewe {
namespace {

/// Runs everything where it is enqueued; kernels by their bodies for GPUs.
class BodyQueue : public Queue {
 public:
  void copy(void* to, const void* from, std::size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  void fill(void* to, unsigned char value, std::size_t bytes) override { std::memset(to, value, bytes); }
  void record(Event&) override {}
  void wait_for(const Event&) override {}
  void set_flags(std::span<const FlagValue> flags) override {
    for (const FlagValue& one : flags) *one.flag = one.value;
  }
  void wait_for_flags(std::span<const FlagValue>) override {}
  std::unique_ptr<Graph> record_graph(const std::function<void()>&) override { return nullptr; }
  void launch(Graph&) override {}
  bool is_idle() override { return true; }

 protected:
  StreamHandle current_stream() override { return reinterpret_cast<StreamHandle>(this); }
  void check_launch(const char* kernel, int code) override { ASSERT_EQ(code, cudaSuccess) << kernel; }
  void enqueue(std::function<void()>) override { FAIL() << "kernels run by their bodies"; }
};

class BodyDevice : public Device {
 public:
  std::size_t number() const override { return 0; }
  std::string description() const override { return "bodies of kernels on the host"; }
  std::size_t free_bytes() const override { return SIZE_MAX; }
  bool is_emulated() const override { return true; }
  std::unique_ptr<Queue> make_queue() override { return std::make_unique<BodyQueue>(); }
  std::unique_ptr<Event> make_event() override { return nullptr; }
  std::byte* allocate(MemoryKind kind, std::size_t bytes) override { return host_->allocate(kind, bytes); }
  void free(MemoryKind kind, std::byte* memory) noexcept override { host_->free(kind, memory); }
  std::unique_ptr<SharedMemory> share(std::size_t, std::size_t) override { return nullptr; }
  std::unique_ptr<SharedMemory> open(const MemoryHandle&, std::size_t) override { return nullptr; }
  bool let_address(std::size_t) override { return true; }
  std::unique_ptr<ShownMemory> show_host_memory(std::byte*, std::size_t) override { return nullptr; }

 private:
  std::unique_ptr<Device> host_ = choose_device(DeviceChoice::cpu, 0).device;
};

TEST(KernelBodies, YieldTheBytesOfTheirTwinsInWhateverOrderThreadsRun) {
  for (const bool is_reversed : {false, true}) {
    test::Block::is_reversed = is_reversed;
    BodyDevice bodies;
    const auto twin = choose_device(DeviceChoice::cpu, 0).device;
    for (const test::Comparison& c : test::compare_all(bodies, *twin))
      EXPECT_EQ(c.num_different, 0U) << c.kernels << ", reversed " << is_reversed;
  }
}

}  // namespace
}  // namespace moewe
