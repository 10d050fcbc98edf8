#pragma once

#include <cstring>
#include <limits>

#include "runtime/graph_layer.hpp"
#include "tests/support/device_layers.hpp"

namespace moewe::test {

/// Steps of a layer on a device as graphs, enqueued one behind the other: inputs and outputs of each lie in
/// memory of their own, made beforehand, which is copied to and from what the graphs were recorded with.
class GraphSteps {
 public:
  GraphSteps(LayerOnDevice& layer, GraphLane& lane, bool is_routing_given = false, std::size_t most_steps = 8)
      : layer_(layer),
        lane_(lane),
        tokens_(lane.bounds().most_tokens),
        x_(buffer(tokens_ * row_bytes())),
        y_(buffer(tokens_ * hidden() * sizeof(float))),
        count_(buffer(sizeof(std::uint32_t))),
        experts_(buffer(tokens_ * top_k() * sizeof(ExpertId))),
        weights_(buffer(tokens_ * top_k() * sizeof(float))),
        inputs_(buffer(most_steps * input_bytes(), MemoryKind::pinned)),
        results_(buffer(most_steps * y_.size())),
        graphs_(lane, *layer.operator->(),
                GraphTokens{x_.data(), count_.as<std::uint32_t>(), y_.as<float>(),
                            is_routing_given ? experts_.as<ExpertId>() : nullptr,
                            is_routing_given ? weights_.as<float>() : nullptr}) {}
  ~GraphSteps() { lane_.wait(); }
  GraphSteps(const GraphSteps&) = delete;
  GraphSteps& operator=(const GraphSteps&) = delete;

  /// Enqueues a step of these tokens, and says so many instead where `count` is given. `most` are those of
  /// the rank with the most.
  void launch(const std::vector<float>& x, std::size_t most, const Routing* routing = nullptr,
              std::optional<std::uint32_t> count = {}) {
    const std::uint32_t num_tokens = count.value_or(static_cast<std::uint32_t>(x.size() / hidden()));
    const StoredRows stored(x, layer_->options().dtype);
    const TokenRows rows = stored;
    Queue& queue = layer_.lane().queue();
    next_input_ = inputs_.data() + num_launched_ * input_bytes();
    put(x_, rows.bytes);
    put(count_, std::as_bytes(std::span(&num_tokens, 1)));
    if (routing != nullptr) put(experts_, std::as_bytes(routing->experts));
    if (routing != nullptr) put(weights_, std::as_bytes(routing->weights));
    queue.fill(y_.data(), sentinel, y_.size());
    graphs_.launch(most);
    queue.copy(results_.data() + num_launched_++ * y_.size(), y_.data(), y_.size());
  }

  /// All of y after the i-th launch.
  std::vector<float> result(std::size_t i) {
    std::vector<float> y(tokens_ * hidden());
    lane_.wait();
    layer_.lane().queue().copy(y.data(), results_.data() + i * y_.size(), y_.size());
    lane_.wait();
    return y;
  }

  /// The first rows of these outputs, and behind them what was there before.
  std::vector<float> with_rest(std::vector<float> y) const {
    float before = 0;
    std::memset(&before, sentinel, sizeof before);
    y.resize(tokens_ * hidden(), before);
    return y;
  }

  GraphLayer& graphs() { return graphs_; }

 private:
  static constexpr unsigned char sentinel = 0x4B;

  std::size_t hidden() const { return layer_->spec().expert.hidden; }
  std::size_t top_k() const { return layer_->spec().router.top_k; }
  std::size_t row_bytes() const { return hidden() * bytes_of(layer_->options().dtype); }
  std::size_t input_bytes() const {
    return tokens_ * (row_bytes() + top_k() * (sizeof(ExpertId) + sizeof(float))) + sizeof(std::uint32_t);
  }
  DeviceBuffer buffer(std::size_t bytes, MemoryKind kind = MemoryKind::device) {
    return {layer_.lane().device(), meter_, "test", bytes, kind};
  }

  void put(DeviceBuffer& to, std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    std::memcpy(next_input_, bytes.data(), bytes.size());
    layer_.lane().queue().copy(to.data(), next_input_, bytes.size());
    next_input_ += bytes.size();
  }

  MemoryMeter meter_;
  LayerOnDevice& layer_;
  GraphLane& lane_;
  std::size_t tokens_;
  DeviceBuffer x_, y_, count_, experts_, weights_, inputs_, results_;
  std::byte* next_input_ = nullptr;
  std::size_t num_launched_ = 0;
  GraphLayer graphs_;
};

}  // namespace moewe::test
