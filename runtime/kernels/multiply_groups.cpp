#include "runtime/kernels/multiply_groups.hpp"

#include "comm/error.hpp"
#include "runtime/kernels/multiply_rows.hpp"

namespace moewe {
namespace {

void multiply_on_host(const MultiplyGroups& work) {
  for (std::uint32_t group = 0; group < work.num_groups; ++group) {
    MultiplyRows rows{};
    rows.inputs = {nullptr, work.on_device.inputs[group], work.in * bytes_of(work.dtype)};
    rows.outputs = {nullptr, work.on_device.outputs[group], work.out * bytes_of(work.output_dtype)};
    rows.weights = work.on_device.weights + group;
    rows.num_slots = 1;
    rows.in = work.in;
    rows.out = work.out;
    rows.max_rows = work.num_rows[group];
    rows.input_dtype = rows.weight_dtype = work.dtype;
    rows.output_dtype = work.output_dtype;
    multiply_rows.on_host(rows);
  }
}

/// What a queue takes for a failure, whatever the library's own code.
constexpr int has_failed = 999;

int launch(const MultiplyGroups& work, StreamHandle stream) {
  if (work.num_groups == 0) return 0;
  return work.library != nullptr && work.library->enqueue(work, stream) ? 0 : has_failed;
}

}  // namespace

const Kernel<MultiplyGroups> multiply_groups{"multiply_groups", multiply_on_host, launch};

void run_groups(Queue& queue, const MultiplyGroups& work) {
  try {
    queue.run(multiply_groups, work);
  } catch (const Error&) {
    if (work.library != nullptr) work.library->throw_failure();
    throw;
  }
}

}  // namespace moewe
