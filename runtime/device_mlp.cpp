#include "runtime/device_mlp.hpp"

#include <utility>

namespace moewe {

void run_mlp(Queue& queue, const DeviceMlp& mlp) {
  MultiplyRows multiply{};
  multiply.inputs = mlp.inputs;
  multiply.outputs = {nullptr, mlp.hidden, mlp.shape.intermediate * bytes_of(mlp.dtype)};
  multiply.weights = mlp.weights.in;
  multiply.first_row = mlp.first_row;
  multiply.num_slots = mlp.num_slots;
  multiply.in = static_cast<std::uint32_t>(mlp.shape.hidden);
  multiply.out = static_cast<std::uint32_t>(mlp.shape.intermediate);
  multiply.max_rows = mlp.max_rows;
  multiply.input_dtype = multiply.weight_dtype = multiply.output_dtype = mlp.dtype;
  multiply.finish = mlp.shape.gated ? Finish::gated : Finish::activated;
  multiply.activation = mlp.shape.activation;
  queue.run(multiply_rows, multiply);

  multiply.inputs = {nullptr, multiply.outputs.first, multiply.outputs.row_bytes};
  multiply.outputs = mlp.outputs;
  multiply.weights = mlp.weights.out;
  multiply.computed = mlp.computed;
  std::swap(multiply.in, multiply.out);
  multiply.output_dtype = mlp.output_dtype;
  multiply.finish = Finish::plain;
  queue.run(multiply_rows, multiply);
}

}  // namespace moewe
