#include "launch/run_layer.hpp"

#include <utility>

namespace moewe {

void RunLayer::migrate(Placement next, std::size_t bytes_per_step) {
  if (on_cores_) return on_cores_->migrate(std::move(next), {.bytes_per_step = bytes_per_step});
  on_device_->migrate(std::move(next), {.bytes_per_step = bytes_per_step});
}

void RunLayer::run_empty_step() {
  const Routing no_routing{0, spec().router.top_k, {}, {}, {}};
  const TokenRows no_rows({}, dtype());
  on_cores_ ? on_cores_->forward(no_rows, no_routing, {}) : on_device_->forward(no_rows, no_routing, {});
}

}  // namespace moewe
