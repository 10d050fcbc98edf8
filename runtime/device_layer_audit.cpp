#include "runtime/device_audit.hpp"
#include "runtime/device_exchange.hpp"
#include "runtime/device_layer.hpp"
#include "runtime/kernels/arrange_rows.hpp"

// What is compared in steps that are audited.

namespace moewe {

void DeviceLayer::seal_rows(const Tokens& tokens) {
  DeviceAudit* const audit = lane_.audit();
  if (audit == nullptr) return;
  audit->seal_rows({generation_, lane_.queue(), lane_.memory(), lane_.arrivals(), tokens.x, tokens.count,
                    lane_.exchange().outputs()});
}

/// Outputs that were computed here go where they are wanted, once their checksums are taken.
void DeviceLayer::return_audited() {
  const DeviceStepMemory& memory = lane_.memory();
  const DeviceArrivals& arrivals = lane_.arrivals();
  lane_.audit()->seal_outputs();
  lane_.queue().run(
      return_rows, {arrivals.audited, memory.slot_first_row, memory.computed, memory.slot_first_row,
                    arrivals.outputs, lane_.sizes().row_bytes(), static_cast<std::uint32_t>(promised_.size()),
                    static_cast<std::uint32_t>(num_promised_)});
}

}  // namespace moewe
