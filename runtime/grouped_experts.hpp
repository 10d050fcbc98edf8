#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "comm/device_buffer.hpp"
#include "runtime/device_step.hpp"
#include "runtime/device_weights.hpp"
#include "runtime/kernels/multiply_groups.hpp"
#include "runtime/memory_plan.hpp"

namespace moewe {

/// The MLPs of a rank's experts in matmuls of a library: rows are brought together by expert, multiplied,
/// activated and multiplied once more, with as many rows for each as the host knows by agreement. Sums of
/// gate and up stay f32 until they are activated, so that values are rounded as often as by multiply_rows.
class GroupedExperts {
 public:
  static constexpr std::string_view workspace_name = "matmul workspace";
  static constexpr std::string_view tables_name = "matmul tables";
  static constexpr std::string_view pinned_name = "matmul tables, pinned";

  /// Local. Device and meter outlive it, and the queue that it is used with is idle when it ends. Throws what
  /// the library says where it cannot be used.
  GroupedExperts(Device& device, MemoryMeter& meter, const DeviceSizes& sizes);

  /// What construction takes.
  static void plan_memory(const DeviceSizes& sizes, MemoryPlan& plan);

  struct Rows {
    const std::byte* const* inputs;          ///< on the device, [sum of num_rows], by slot
    const std::uint32_t* first_row;          ///< on the device, [slots + 1]
    std::span<const std::int64_t> num_rows;  ///< of each slot, on the host
    const DeviceArrivals& room;              ///< results are written to room.results, by slot
    std::uint32_t* first_place;              ///< on the device, [slots + 1], to be written
    std::uint32_t* counts;                   ///< on the device, [slots]: rows that there were, to be written
  };

  /// Enqueues it. Used by one step at a time: what was enqueued before with these weights and rows is done.
  void run(Queue& queue, const DeviceWeights& weights, const Rows& rows);

 private:
  /// Of GroupAddresses, to be written.
  struct Tables {
    const std::byte** weights;
    const std::byte** inputs;
    std::byte** outputs;

    GroupAddresses addresses() const { return {weights, inputs, outputs}; }
  };
  struct Matmul {
    std::span<const std::byte* const> weights;  ///< of all slots
    const std::byte* inputs;
    std::byte* outputs;
    std::uint32_t in;
    std::uint32_t out;
    Dtype output_dtype;
  };

  static Tables lay_out(const DeviceSizes& sizes, std::size_t matmul, DeviceBuffer& tables);
  void list_groups(std::span<const std::int64_t> num_rows);
  void multiply(Queue& queue, std::size_t number, const Matmul& matmul);

  DeviceSizes sizes_;
  DeviceBuffer workspace_;
  DeviceBuffer tables_;
  DeviceBuffer pinned_;
  std::unique_ptr<GroupedMatmul> library_;  // null where the device is emulated

  // Of the step that is under way: slots with rows, where these begin, and how many they are.
  std::vector<std::size_t> slots_;
  std::vector<std::size_t> first_rows_;
  std::vector<std::uint32_t> num_rows_;
};

}  // namespace moewe
