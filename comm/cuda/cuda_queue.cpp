#include "comm/cuda/cuda_queue.hpp"

#include <string>

#include "comm/cuda/check.hpp"
#include "comm/cuda/cuda_graph.hpp"
#include "comm/cuda/stream_flags.hpp"
#include "comm/error.hpp"
#include "comm/recording_here.hpp"

namespace moewe {
namespace {

/// Of a query, for which what is under way is no error.
bool is_ready(cudaError_t code) {
  if (code == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  check_cuda(code);
  return true;
}

}  // namespace

CudaEvent::CudaEvent(int device) : device_(device) {
  const CurrentDevice current(device);
  check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming));
}

CudaEvent::~CudaEvent() {
  const CurrentDevice current(device_, std::nothrow);
  report_cuda(cudaEventDestroy(event_));
}

bool CudaEvent::is_done() const {
  RecordingHere::forbid("asking an event whether it is done");
  const CurrentDevice current(device_);
  return is_ready(cudaEventQuery(event_));
}

CudaQueue::CudaQueue(int device) : device_(device) {
  const CurrentDevice current(device_);
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
}

CudaQueue::~CudaQueue() {
  const CurrentDevice current(device_, std::nothrow);
  report_cuda(cudaStreamDestroy(stream_));
}

void CudaQueue::copy(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  const CurrentDevice current(device_);
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_));
}

void CudaQueue::fill(void* to, unsigned char value, std::size_t bytes) {
  if (bytes == 0) return;
  const CurrentDevice current(device_);
  check_cuda(cudaMemsetAsync(to, value, bytes, stream_));
}

void CudaQueue::record(Event& event) {
  const CurrentDevice current(device_);
  check_cuda(cudaEventRecord(dynamic_cast<CudaEvent&>(event).get(), stream_));
}

void CudaQueue::wait_for(const Event& event) {
  const CurrentDevice current(device_);
  check_cuda(cudaStreamWaitEvent(stream_, dynamic_cast<const CudaEvent&>(event).get(), 0));
}

void CudaQueue::set_flags(std::span<const FlagValue> flags) {
  const CurrentDevice current(device_);
  set_flags_on(stream_, flags);
}

void CudaQueue::wait_for_flags(std::span<const FlagValue> flags) {
  const CurrentDevice current(device_);
  wait_for_flags_on(stream_, flags);
}

std::unique_ptr<Graph> CudaQueue::record_graph(const std::function<void()>& work) {
  const RecordingHere here;
  StreamCapture capture(stream_, device_);
  work();
  return capture.finish();
}

void CudaQueue::launch(Graph& graph) {
  RecordingHere::forbid("launching a graph");
  const CurrentDevice current(device_);
  check_cuda(cudaGraphLaunch(dynamic_cast<CudaGraph&>(graph).get(), stream_));
}

bool CudaQueue::is_idle() {
  RecordingHere::forbid("asking a queue whether it is idle");
  const CurrentDevice current(device_);
  return is_ready(cudaStreamQuery(stream_));
}

StreamHandle CudaQueue::current_stream() {
  while_launching_.emplace(device_);
  return stream_;
}

void CudaQueue::check_launch(const char* kernel, int code) {
  while_launching_.reset();
  if (code == cudaSuccess) return;
  std::string what = "starting the kernel ";
  what.append(kernel).append(": ");
  if (code == not_built) throw Error(ErrorKind::internal, what.append("it was built without CUDA"));
  try {
    check_cuda(code);
  } catch (const Error& error) {
    throw Error(error.kind(), what.append(error.what()));
  }
}

void CudaQueue::enqueue(std::function<void()>) {
  throw Error(ErrorKind::internal, "kernels of a GPU's queue do not run on the host");
}

}  // namespace moewe
