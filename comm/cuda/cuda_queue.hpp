#pragma once

#include <cuda_runtime_api.h>
#include <optional>

#include "comm/cuda/current_device.hpp"
#include "comm/queue.hpp"

namespace moewe {

class CudaEvent : public Event {
 public:
  explicit CudaEvent(int device);
  ~CudaEvent() override;
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;

  bool is_done() const override;
  cudaEvent_t get() const { return event_; }

 private:
  int device_;
  cudaEvent_t event_ = nullptr;
};

/// A stream that does not wait for the default stream. Flags are written and awaited by the stream itself; no
/// kernel spins.
class CudaQueue : public Queue {
 public:
  explicit CudaQueue(int device);
  ~CudaQueue() override;
  CudaQueue(const CudaQueue&) = delete;
  CudaQueue& operator=(const CudaQueue&) = delete;

  void copy(void* to, const void* from, std::size_t bytes) override;
  void fill(void* to, unsigned char value, std::size_t bytes) override;
  void record(Event& event) override;
  void wait_for(const Event& event) override;
  void set_flags(std::span<const FlagValue> flags) override;
  void wait_for_flags(std::span<const FlagValue> flags) override;
  std::unique_ptr<Graph> record_graph(const std::function<void()>& work) override;
  void launch(Graph& graph) override;
  bool is_idle() override;

  cudaStream_t stream() const { return stream_; }

 protected:
  StreamHandle current_stream() override;
  void check_launch(const char* kernel, int code) override;
  void enqueue(std::function<void()> work) override;

 private:
  int device_;
  cudaStream_t stream_ = nullptr;
  std::optional<CurrentDevice> while_launching_;  // from current_stream() to check_launch()
};

}  // namespace moewe
