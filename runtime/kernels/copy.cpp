#include "runtime/kernels/copy.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace moewe {

#if defined(__SSE2__)

namespace {

constexpr std::size_t line = 64;

/// `to` begins a cache line; whole lines.
void stream_lines(const std::byte* from, std::byte* to, std::size_t bytes) {
  for (std::size_t at = 0; at < bytes; at += line) {
    const auto* source = reinterpret_cast<const __m128i*>(from + at);
    auto* target = reinterpret_cast<__m128i*>(to + at);
    const __m128i a = _mm_loadu_si128(source);
    const __m128i b = _mm_loadu_si128(source + 1);
    const __m128i c = _mm_loadu_si128(source + 2);
    const __m128i d = _mm_loadu_si128(source + 3);
    _mm_stream_si128(target, a);
    _mm_stream_si128(target + 1, b);
    _mm_stream_si128(target + 2, c);
    _mm_stream_si128(target + 3, d);
  }
}

void stream(const std::byte* from, std::byte* to, std::size_t bytes) {
  const std::size_t to_line = (line - reinterpret_cast<std::uintptr_t>(to) % line) % line;
  const std::size_t head = std::min(bytes, to_line);
  const std::size_t lines = (bytes - head) / line * line;
  std::memcpy(to, from, head);
  stream_lines(from + head, to + head, lines);
  std::memcpy(to + head + lines, from + head + lines, bytes - head - lines);
}

}  // namespace

void copy_row(const std::byte* from, std::byte* to, std::size_t bytes, Stores stores) {
  if (stores == Stores::cached) {
    std::memcpy(to, from, bytes);
  } else {
    stream(from, to, bytes);
  }
}

void finish_stores(Stores stores) {
  if (stores == Stores::streaming) _mm_sfence();
}

#else

void copy_row(const std::byte* from, std::byte* to, std::size_t bytes, Stores /*stores*/) {
  std::memcpy(to, from, bytes);
}

void finish_stores(Stores /*stores*/) {}

#endif

}  // namespace moewe
