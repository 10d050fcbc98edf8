#pragma once

#include <cstddef>
#include <cstdint>

// Instructions for matrix units and for copies into shared memory, of compute capability 8.0 on (PTX ISA,
// "Warp-level Matrix Instructions" and "Asynchronous copy"). Tests that run on the host bring their own.
#ifndef MOEWE_KERNELS_ON_HOST

namespace moewe {

__device__ inline std::uint32_t shared_address(const void* memory) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(memory));
}

/// Four 8 x 8 matrices of 16-bit values: lane i names row i % 8 of matrix i / 8, 16-byte aligned in shared
/// memory; of each matrix a lane gets two neighbours of row lane / 4.
__device__ inline void load_matrices(const std::byte* row, std::uint32_t (&matrices)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
               : "r"(shared_address(row))
               : "memory");
}

/// sums += a b, for a warp's [16, 16] a and [16, 8] b in bf16; sums lie at row lane / 4, or 8 below it for
/// the last two, and columns 2 (lane % 4) and the next.
__device__ inline void multiply_add(float (&sums)[4], const std::uint32_t (&a)[4],
                                    const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// 16 bytes into shared memory, of which the first `bytes` are read and the others 0; both aligned to 16.
__device__ inline void copy_to_shared(std::byte* to, const std::byte* from, unsigned int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
               "l"(__cvta_generic_to_global(from)), "r"(bytes)
               : "memory");
}

/// Makes one group of the copies that this thread began since the last.
__device__ inline void close_copy_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Until all but this thread's latest `count` groups have been copied.
template <unsigned int count>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(count) : "memory");
}

}  // namespace moewe

#endif
