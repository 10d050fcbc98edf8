#pragma once

#include <cuda_runtime_api.h>
#include <memory>

#include "comm/queue.hpp"

namespace moewe {

/// A graph that can be launched. The device is current where it is made.
class CudaGraph : public Graph {
 public:
  /// Of what was captured, which is not used again.
  CudaGraph(int device, cudaGraph_t captured);
  ~CudaGraph() override;
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  std::size_t num_nodes() const override { return num_nodes_; }
  cudaGraphExec_t get() const { return graph_; }

 private:
  int device_;
  cudaGraphExec_t graph_ = nullptr;
  std::size_t num_nodes_ = 0;
};

/// A stream's capture, in thread-local mode: calls of other threads, which may make memory meanwhile, do not
/// end it. Dropped at the end of the scope, unless it was finished.
class StreamCapture {
 public:
  StreamCapture(cudaStream_t stream, int device);
  ~StreamCapture();
  StreamCapture(const StreamCapture&) = delete;
  StreamCapture& operator=(const StreamCapture&) = delete;

  /// Ends it. Throws Error(communication) where something that was asked for cannot be recorded, or a stream
  /// that took part has not been joined.
  std::unique_ptr<Graph> finish();

 private:
  cudaStream_t stream_;
  int device_;
  bool is_under_way_ = false;
};

}  // namespace moewe
