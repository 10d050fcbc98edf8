#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/multiply_bf16.cuh"
#include "runtime/kernels/multiply_f32.cuh"
#include "runtime/kernels/multiply_rows.hpp"

namespace moewe {
namespace {

template <typename Input>
int launch_f32(const MultiplyRows& work, StreamHandle stream) {
  using namespace multiply_f32;
  auto* const kernel =
      work.output_dtype == Dtype::f32 ? multiply_rows_f32<Input, float> : multiply_rows_f32<Input, Bf16>;
  return start(kernel, tiles().most_tiles(work), threads, 0, stream, work);
}

template <typename Shape>
int launch_bf16(const MultiplyRows& work, StreamHandle stream) {
  using namespace multiply_bf16;
  const std::uint32_t tiles = Shape::tiles().most_tiles(work);
  if (tiles == 0) return cudaSuccess;
  auto* const kernel =
      work.output_dtype == Dtype::f32 ? multiply_rows_bf16<Shape, float> : multiply_rows_bf16<Shape, Bf16>;
  return start(kernel, tiles, Shape::threads, Shape::shared_bytes, stream, work);
}

}  // namespace

int launch_multiply_rows(const MultiplyRows& work, StreamHandle stream) {
  if (work.max_rows == 0 || work.num_slots == 0 || work.out == 0) return cudaSuccess;
  if (work.weight_dtype == Dtype::f32)
    return work.input_dtype == Dtype::f32 ? launch_f32<float>(work, stream) : launch_f32<Bf16>(work, stream);
  if (work.input_dtype == Dtype::f32) return cudaErrorInvalidValue;
  const int code = launch_bf16<multiply_bf16::Large>(work, stream);
  return code == cudaSuccess ? launch_bf16<multiply_bf16::Small>(work, stream) : code;
}

}  // namespace moewe
