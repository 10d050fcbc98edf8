#include "comm/cuda/cuda_queue.hpp"

#include <string>

#include "comm/cuda/check.hpp"
#include "comm/cuda/stream_flags.hpp"
#include "comm/error.hpp"

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

CudaEvent::CudaEvent(int device) {
  const CurrentDevice current(device);
  check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming));
}

CudaEvent::~CudaEvent() { report_cuda(cudaEventDestroy(event_)); }

bool CudaEvent::is_done() const { return is_ready(cudaEventQuery(event_)); }

CudaQueue::CudaQueue(int device) : device_(device) {
  const CurrentDevice current(device_);
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
}

CudaQueue::~CudaQueue() { report_cuda(cudaStreamDestroy(stream_)); }

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

void CudaQueue::set_flag(std::uint64_t* flag, std::uint64_t value) {
  const CurrentDevice current(device_);
  set_flag_on(stream_, flag, value);
}

void CudaQueue::wait_for_flag(const std::uint64_t* flag, std::uint64_t value) {
  const CurrentDevice current(device_);
  wait_for_flag_on(stream_, flag, value);
}

bool CudaQueue::is_idle() { return is_ready(cudaStreamQuery(stream_)); }

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
