#include "runtime/kernels/matmul.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <omp.h>
#include <random>
#include <vector>

#include "comm/error.hpp"
#include "runtime/kernels/onednn.hpp"

namespace moewe {
namespace {

using dnnl::memory;

memory::desc f32_matrix(std::size_t rows, std::size_t columns, memory::format_tag layout) {
  const memory::dims dims{static_cast<memory::dim>(rows), static_cast<memory::dim>(columns)};
  return {dims, memory::data_type::f32, layout};
}

/// The library shapes its work by the number of threads, when it creates a primitive and when it runs one.
/// Ours always run on one: threads share the rows instead, so that bits do not depend on how many there are.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

std::vector<float> random_values(std::size_t count) {
  std::mt19937 generator(20240817);
  std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
  std::vector<float> values(count);
  std::generate(values.begin(), values.end(), [&] { return uniform(generator); });
  return values;
}

}  // namespace

/// The library's side of a shape: the layout of packed weights and a primitive per number of rows.
struct Matmul::Library {
  struct Primitive {
    dnnl::matmul::primitive_desc description;
    dnnl::matmul primitive;
  };

  Library(std::size_t in_features, std::size_t out_features)
      : in(in_features), out(out_features), packed_weights(choose_layout()) {}

  memory::desc choose_layout() const {
    const OneThread one_thread;
    const auto any = f32_matrix(in, out, memory::format_tag::any);
    return onednn::describe_matmul(f32_matrix(max_rows, in, memory::format_tag::ab), any,
                                   f32_matrix(max_rows, out, memory::format_tag::ab))
        .weights_desc();
  }

  ~Library() {
    for (const auto& primitive : primitives) delete primitive.load();
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  const Primitive& primitive_for(std::size_t num_rows) {
    const Primitive* cached = primitives[num_rows].load(std::memory_order_acquire);
    return cached != nullptr ? *cached : create_primitive(num_rows);
  }

  const Primitive& create_primitive(std::size_t num_rows) {
    const std::lock_guard lock(mutex);
    if (const Primitive* made_meanwhile = primitives[num_rows].load()) return *made_meanwhile;
    const auto description =
        onednn::describe_matmul(f32_matrix(num_rows, in, memory::format_tag::ab), packed_weights,
                                f32_matrix(num_rows, out, memory::format_tag::ab));
    auto primitive = std::make_unique<const Primitive>(Primitive{description, dnnl::matmul(description)});
    primitives[num_rows].store(primitive.get(), std::memory_order_release);
    return *primitive.release();
  }

  void run(const float* x, std::size_t num_rows, const float* packed, float* y) {
    const OneThread one_thread;
    const Primitive& matmul = primitive_for(num_rows);
    const auto& description = matmul.description;
    const dnnl::engine& engine = onednn::engine();
    thread_local dnnl::stream stream(engine);
    thread_local std::vector<std::byte> scratch;
    scratch.resize(std::max(scratch.size(), description.scratchpad_desc().get_size()));
    // oneDNN takes all handles as mutable and writes only to y and the scratchpad.
    const auto handle = [&](const memory::desc& desc, const void* data) {
      return memory(desc, engine, const_cast<void*>(data));
    };
    matmul.primitive.execute(stream,
                             {{DNNL_ARG_SRC, handle(description.src_desc(), x)},
                              {DNNL_ARG_WEIGHTS, handle(packed_weights, packed)},
                              {DNNL_ARG_DST, handle(description.dst_desc(), y)},
                              {DNNL_ARG_SCRATCHPAD, handle(description.scratchpad_desc(), scratch.data())}});
    stream.wait();
  }

  std::size_t in;
  std::size_t out;
  memory::desc packed_weights;
  std::mutex mutex;  // of whoever creates a primitive; found ones need none
  std::array<std::atomic<const Primitive*>, max_rows + 1> primitives{};
};

Matmul::Matmul(std::size_t in, std::size_t out)
    : in_(in), out_(out), library_(std::make_unique<Library>(in, out)), rows_(find_rows()) {}

Matmul::~Matmul() = default;

std::size_t Matmul::packed_length() const {
  return (library_->packed_weights.get_size() + sizeof(float) - 1) / sizeof(float);
}

void Matmul::pack(std::span<const float> weights, float* packed) const {
  expects(weights.size() == in_ * out_, "a matmul packs weights of its own shape");
  const OneThread one_thread;
  const dnnl::engine& engine = onednn::engine();
  dnnl::stream stream(engine);
  // [out, in] row-major is [in, out] column-major, which is what the library multiplies with.
  memory plain(f32_matrix(in_, out_, memory::format_tag::ba), engine, const_cast<float*>(weights.data()));
  memory target(library_->packed_weights, engine, packed);
  dnnl::reorder(plain, target).execute(stream, plain, target);
  stream.wait();
}

Buffer Matmul::pack(MemoryMeter& meter, std::string_view name, std::span<const float> weights) const {
  Buffer packed(meter, name, packed_length() * sizeof(float));
  pack(weights, packed.as<float>(packed_length()).data());
  return packed;
}

void Matmul::apply(const float* x, std::size_t num_rows, const float* packed, float* y) const {
  expects(num_rows >= 1 && num_rows <= max_rows, "a matmul takes between 1 and max_rows rows");
  apply_as(rows_, x, num_rows, packed, y);
}

void Matmul::apply_as(Rows rows, const float* x, std::size_t num_rows, const float* packed, float* y) const {
  switch (rows) {
    case Rows::exact:
      library_->run(x, num_rows, packed, y);
      return;
    case Rows::padded:
      for (std::size_t row = 0; row < num_rows; row += padded_rows) {
        apply_padded(x + row * in_, std::min(padded_rows, num_rows - row), packed, y + row * out_);
      }
      return;
    case Rows::single:
      for (std::size_t row = 0; row < num_rows; ++row) {
        library_->run(x + row * in_, 1, packed, y + row * out_);
      }
      return;
  }
}

void Matmul::apply_padded(const float* x, std::size_t num_rows, const float* packed, float* y) const {
  thread_local std::vector<float> padded_x, padded_y;
  padded_x.assign(padded_rows * in_, 0.0F);
  padded_y.resize(padded_rows * out_);
  std::copy_n(x, num_rows * in_, padded_x.begin());
  library_->run(padded_x.data(), padded_rows, packed, padded_y.data());
  std::copy_n(padded_y.begin(), num_rows * out_, y);
}

/// A few different rows, computed alone, must come out the same wherever they stand in a batch of any size.
bool Matmul::rows_are_independent(Rows rows, const float* packed) const {
  constexpr std::size_t num_probes = 7;  // coprime to the sizes of the library's blocks of rows
  const std::vector<float> probes = random_values(num_probes * in_);
  std::vector<float> expected(num_probes * out_);
  for (std::size_t probe = 0; probe < num_probes; ++probe) {
    apply_as(rows, probes.data() + probe * in_, 1, packed, expected.data() + probe * out_);
  }
  std::vector<float> batch(max_rows * in_), together(max_rows * out_);
  for (std::size_t row = 0; row < max_rows; ++row) {
    std::copy_n(probes.begin() + static_cast<std::ptrdiff_t>(row % num_probes * in_), in_,
                batch.begin() + static_cast<std::ptrdiff_t>(row * in_));
  }
  for (const std::size_t count : std::initializer_list<std::size_t>{
           2, 3, 4, 5, 7, 8, 11, 16, 17, 24, 31, 32, 33, 48, 63, 64, 100, 128, 255, 256}) {
    apply_as(rows, batch.data(), count, packed, together.data());
    for (std::size_t row = 0; row < count; ++row) {
      const float* alone = expected.data() + row % num_probes * out_;
      if (std::memcmp(together.data() + row * out_, alone, out_ * sizeof(float)) != 0) return false;
    }
  }
  return true;
}

Matmul::Rows Matmul::find_rows() const {
  std::vector<float> packed(packed_length());
  pack(random_values(in_ * out_), packed.data());
  for (const Rows rows : {Rows::exact, Rows::padded}) {
    if (rows_are_independent(rows, packed.data())) return rows;
  }
  return Rows::single;
}

std::shared_ptr<const Matmul> MatmulCache::get(std::size_t in, std::size_t out) {
  std::shared_ptr<const Matmul>& cached = by_shape_[{in, out}];
  if (!cached) cached = std::make_shared<const Matmul>(in, out);
  return cached;
}

const char* name_of(Matmul::Rows rows) {
  switch (rows) {
    case Matmul::Rows::exact:
      return "exact";
    case Matmul::Rows::padded:
      return "padded";
    case Matmul::Rows::single:
      return "single";
  }
  return "";
}

std::string instruction_set() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41:
      return "SSE4.1";
    case dnnl::cpu_isa::avx:
      return "AVX";
    case dnnl::cpu_isa::avx2:
      return "AVX2";
    case dnnl::cpu_isa::avx2_vnni:
      return "AVX2 with VNNI";
    case dnnl::cpu_isa::avx512_core:
      return "AVX512";
    case dnnl::cpu_isa::avx512_core_vnni:
      return "AVX512 with VNNI";
    case dnnl::cpu_isa::avx512_core_bf16:
      return "AVX512 with BF16";
    default:
      return "other";
  }
}

}  // namespace moewe
