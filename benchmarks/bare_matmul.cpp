#include "benchmarks/bare_matmul.hpp"

#include <algorithm>
#include <omp.h>
#include <string>
#include <vector>

#include "runtime/kernels/onednn.hpp"

namespace moewe::bench {
namespace {

using dnnl::memory;

memory::desc matrix(std::size_t rows, std::size_t columns, memory::data_type type,
                    memory::format_tag layout) {
  return {{static_cast<memory::dim>(rows), static_cast<memory::dim>(columns)}, type, layout};
}

memory::data_type type_of(Dtype dtype) {
  return dtype == Dtype::f32 ? memory::data_type::f32 : memory::data_type::bf16;
}

/// So many threads for the library, which asks both when it makes a primitive and when it runs one.
class LibraryThreads {
 public:
  explicit LibraryThreads(std::size_t threads) : before_(omp_get_max_threads()) {
    omp_set_num_threads(static_cast<int>(threads));
  }
  ~LibraryThreads() { omp_set_num_threads(before_); }
  LibraryThreads(const LibraryThreads&) = delete;
  LibraryThreads& operator=(const LibraryThreads&) = delete;

 private:
  int before_;
};

dnnl::matmul::primitive_desc describe(const MatmulShape& shape, Dtype dtype) {
  return onednn::describe_matmul(
      matrix(shape.rows, shape.in, type_of(dtype), memory::format_tag::ab),
      matrix(shape.in, shape.out, type_of(dtype), memory::format_tag::any),
      matrix(shape.rows, shape.out, memory::data_type::f32, memory::format_tag::ab));
}

memory at(const memory::desc& desc, const std::byte* data) {
  return {desc, onednn::engine(), const_cast<std::byte*>(data)};
}

}  // namespace

struct BareMatmul::Library {
  // [out, in] row-major is [in, out] column-major, which is what the library multiplies with.
  Library(const MatmulShape& shape, Dtype dtype)
      : description(describe(shape, dtype)),
        matmul(description),
        plain_weights(matrix(shape.in, shape.out, memory::data_type::f32, memory::format_tag::ba)) {}

  dnnl::matmul::primitive_desc description;
  dnnl::matmul matmul;
  memory::desc plain_weights;
};

BareMatmul::BareMatmul(const MatmulShape& shape, Dtype dtype, std::size_t threads) : threads_(threads) {
  const LibraryThreads limit(threads);
  library_ = std::make_unique<Library>(shape, dtype);
}

BareMatmul::~BareMatmul() = default;

bool BareMatmul::is_available(Dtype dtype) {
  try {
    const std::string name = describe({64, 64, 64}, dtype).impl_info_str();
    return name.find("ref") == std::string::npos;
  } catch (const dnnl::error&) {
    return false;
  }
}

std::size_t BareMatmul::packed_bytes() const { return library_->description.weights_desc().get_size(); }

void BareMatmul::pack(std::span<const float> weights, std::byte* packed) const {
  const LibraryThreads limit(threads_);
  dnnl::stream stream(onednn::engine());
  memory plain = at(library_->plain_weights, reinterpret_cast<const std::byte*>(weights.data()));
  memory target = at(library_->description.weights_desc(), packed);
  dnnl::reorder(plain, target).execute(stream, plain, target);
  stream.wait();
}

void BareMatmul::run(const std::byte* x, const std::byte* packed, std::byte* y) const {
  const LibraryThreads limit(threads_);
  const auto& description = library_->description;
  thread_local dnnl::stream stream(onednn::engine());
  thread_local std::vector<std::byte> scratch;
  scratch.resize(std::max(scratch.size(), description.scratchpad_desc().get_size()));
  library_->matmul.execute(stream,
                           {{DNNL_ARG_SRC, at(description.src_desc(), x)},
                            {DNNL_ARG_WEIGHTS, at(description.weights_desc(), packed)},
                            {DNNL_ARG_DST, at(description.dst_desc(), y)},
                            {DNNL_ARG_SCRATCHPAD, at(description.scratchpad_desc(), scratch.data())}});
  stream.wait();
}

}  // namespace moewe::bench
