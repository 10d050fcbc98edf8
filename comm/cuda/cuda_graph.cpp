#include "comm/cuda/cuda_graph.hpp"

#include "comm/cuda/check.hpp"
#include "comm/cuda/current_device.hpp"

namespace moewe {
namespace {

/// Ends with the scope; what was captured is not needed once it can be launched.
class Captured {
 public:
  explicit Captured(cudaGraph_t graph) : graph_(graph) {}
  ~Captured() { report_cuda(cudaGraphDestroy(graph_)); }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;

 private:
  cudaGraph_t graph_;
};

}  // namespace

CudaGraph::CudaGraph(int device, cudaGraph_t captured) : device_(device) {
  const Captured ends_here(captured);
  check_cuda(cudaGraphGetNodes(captured, nullptr, &num_nodes_));
  check_cuda(cudaGraphInstantiate(&graph_, captured, 0));
}

CudaGraph::~CudaGraph() {
  const CurrentDevice current(device_, std::nothrow);
  report_cuda(cudaGraphExecDestroy(graph_));
}

StreamCapture::StreamCapture(cudaStream_t stream, int device) : stream_(stream), device_(device) {
  const CurrentDevice current(device_);
  check_cuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  is_under_way_ = true;
}

/// What failed has been thrown already; ending a capture that failed reports that once more.
StreamCapture::~StreamCapture() {
  if (!is_under_way_) return;
  const CurrentDevice current(device_, std::nothrow);
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream_, &graph);
  cudaGetLastError();
  if (graph != nullptr) report_cuda(cudaGraphDestroy(graph));
}

std::unique_ptr<Graph> StreamCapture::finish() {
  const CurrentDevice current(device_);
  is_under_way_ = false;
  cudaGraph_t captured = nullptr;
  check_cuda(cudaStreamEndCapture(stream_, &captured));
  auto graph = std::make_unique<CudaGraph>(device_, captured);
  check_cuda(cudaGraphUpload(graph->get(), stream_));  // now, and not by the first launch
  return graph;
}

}  // namespace moewe
