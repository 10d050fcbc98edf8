#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "runtime/device_layer.hpp"
#include "runtime/moe_layer.hpp"

namespace moewe {

/// One layer of a run, on cores or on a device; what does not depend on which.
class RunLayer {
 public:
  explicit RunLayer(std::unique_ptr<MoeLayer> layer) : on_cores_(std::move(layer)) {}
  explicit RunLayer(std::unique_ptr<DeviceLayer> layer) : on_device_(std::move(layer)) {}

  const LayerSpec& spec() const { return on_cores_ ? on_cores_->spec() : on_device_->spec(); }
  Dtype dtype() const { return on_cores_ ? on_cores_->options().dtype : on_device_->options().dtype; }
  const Placement& placement() const { return on_cores_ ? on_cores_->placement() : on_device_->placement(); }
  const MigrationReport& migration() const {
    return on_cores_ ? on_cores_->migration() : on_device_->migration();
  }

  /// Collective, as MoeLayer::migrate.
  void migrate(Placement next, std::size_t bytes_per_step);

  /// Collective: a step of no tokens, in which a migration moves on.
  void run_empty_step();

  /// One of them is null.
  MoeLayer* on_cores() const { return on_cores_.get(); }
  DeviceLayer* on_device() const { return on_device_.get(); }

 private:
  std::unique_ptr<MoeLayer> on_cores_;
  std::unique_ptr<DeviceLayer> on_device_;
};

}  // namespace moewe
