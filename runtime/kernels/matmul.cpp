#include "runtime/kernels/matmul.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <omp.h>
#include <random>
#include <unordered_map>
#include <vector>

#include "comm/error.hpp"
#include "runtime/kernels/elementwise.hpp"
#include "runtime/kernels/onednn.hpp"

namespace moewe {
namespace {

using dnnl::memory;

memory::desc matrix(std::size_t rows, std::size_t columns, Dtype dtype, memory::format_tag layout) {
  const memory::dims dims{static_cast<memory::dim>(rows), static_cast<memory::dim>(columns)};
  return {dims, dtype == Dtype::f32 ? memory::data_type::f32 : memory::data_type::bf16, layout};
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

std::vector<std::byte> random_rows(std::size_t count, Dtype dtype) {
  const std::vector<float> values = random_values(count);
  std::vector<std::byte> rows(count * bytes_of(dtype));
  if (dtype == Dtype::f32) {
    std::memcpy(rows.data(), values.data(), rows.size());
  } else {
    round_to_bf16(values, {reinterpret_cast<Bf16*>(rows.data()), count});
  }
  return rows;
}

/// What one call of a primitive works with. Made once and used again, since making it costs as much as a
/// small matmul.
class Arguments {
 public:
  explicit Arguments(const dnnl::matmul::primitive_desc& description)
      : scratch_(description.scratchpad_desc().get_size()),
        x_(description.src_desc(), onednn::engine(), nullptr),
        weights_(description.weights_desc(), onednn::engine(), nullptr),
        y_(description.dst_desc(), onednn::engine(), nullptr),
        all_{
            {DNNL_ARG_SRC, x_},
            {DNNL_ARG_WEIGHTS, weights_},
            {DNNL_ARG_DST, y_},
            {DNNL_ARG_SCRATCHPAD, memory(description.scratchpad_desc(), onednn::engine(), scratch_.data())}} {
  }

  void execute(const dnnl::matmul& primitive, const std::byte* x, const std::byte* packed, float* y) {
    // oneDNN takes all handles as mutable and writes only to y and the scratchpad.
    x_.set_data_handle(const_cast<std::byte*>(x));
    weights_.set_data_handle(const_cast<std::byte*>(packed));
    y_.set_data_handle(y);
    thread_local dnnl::stream stream(onednn::engine());
    primitive.execute(stream, all_);
    stream.wait();
  }

 private:
  std::vector<std::byte> scratch_;
  memory x_, weights_, y_;
  std::unordered_map<int, memory> all_;
};

/// The library's code for one number of rows, and arguments for as many threads as have used it at a time.
class Primitive {
 public:
  explicit Primitive(const dnnl::matmul::primitive_desc& description)
      : description_(description), primitive_(description) {}

  void run(const std::byte* x, const std::byte* packed, float* y) {
    std::unique_ptr<Arguments> arguments = take();
    arguments->execute(primitive_, x, packed, y);
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(arguments));
  }

 private:
  std::unique_ptr<Arguments> take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<Arguments>(description_);
    std::unique_ptr<Arguments> arguments = std::move(idle_.back());
    idle_.pop_back();
    return arguments;
  }

  dnnl::matmul::primitive_desc description_;
  dnnl::matmul primitive_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Arguments>> idle_;
};

}  // namespace

/// The library's side of a shape: the layout of packed weights and a primitive per number of rows.
struct Matmul::Library {
  Library(std::size_t in_features, std::size_t out_features, Dtype type)
      : in(in_features), out(out_features), dtype(type), packed_weights(choose_layout()) {}

  ~Library() {
    for (const auto& primitive : primitives) delete primitive.load();
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  dnnl::matmul::primitive_desc describe(std::size_t num_rows, const memory::desc& weights) const {
    const OneThread one_thread;
    return onednn::describe_matmul(matrix(num_rows, in, dtype, memory::format_tag::ab), weights,
                                   matrix(num_rows, out, Dtype::f32, memory::format_tag::ab));
  }

  memory::desc choose_layout() const {
    return describe(max_rows, matrix(in, out, dtype, memory::format_tag::any)).weights_desc();
  }

  Primitive& primitive_for(std::size_t num_rows) {
    Primitive* cached = primitives[num_rows].load(std::memory_order_acquire);
    return cached != nullptr ? *cached : create_primitive(num_rows);
  }

  Primitive& create_primitive(std::size_t num_rows) {
    const std::lock_guard lock(mutex);
    if (Primitive* made_meanwhile = primitives[num_rows].load()) return *made_meanwhile;
    auto primitive = std::make_unique<Primitive>(describe(num_rows, packed_weights));
    primitives[num_rows].store(primitive.get(), std::memory_order_release);
    return *primitive.release();
  }

  void run(const std::byte* x, std::size_t num_rows, const std::byte* packed, float* y) {
    Primitive& primitive = primitive_for(num_rows);
    const OneThread one_thread;
    primitive.run(x, packed, y);
  }

  std::size_t in;
  std::size_t out;
  Dtype dtype;
  memory::desc packed_weights;
  std::mutex mutex;  // of whoever creates a primitive; found ones need none
  std::array<std::atomic<Primitive*>, max_rows + 1> primitives{};

  std::mutex test_mutex;
  std::atomic<bool> is_tested{false};
  Rows rows = Rows::single;  // once tested
};

bool Matmul::has_instructions(Dtype dtype) {
  constexpr auto needed = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  const auto present = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  return dtype == Dtype::f32 || (present & needed) == needed;
}

Matmul::Matmul(std::size_t in, std::size_t out, Dtype dtype)
    : in_(in), out_(out), dtype_(dtype), library_(std::make_unique<Library>(in, out, dtype)) {}

Matmul::~Matmul() = default;

std::size_t Matmul::packed_bytes() const { return library_->packed_weights.get_size(); }

void Matmul::pack(std::span<const float> weights, void* packed) const {
  expects(weights.size() == in_ * out_, "a matmul packs weights of its own shape");
  const OneThread one_thread;
  const dnnl::engine& engine = onednn::engine();
  dnnl::stream stream(engine);
  // [out, in] row-major is [in, out] column-major, which is what the library multiplies with.
  memory plain(matrix(in_, out_, Dtype::f32, memory::format_tag::ba), engine,
               const_cast<float*>(weights.data()));
  memory target(library_->packed_weights, engine, packed);
  dnnl::reorder(plain, target).execute(stream, plain, target);
  stream.wait();
}

Buffer Matmul::pack(MemoryMeter& meter, std::string_view name, std::span<const float> weights) const {
  Buffer packed(meter, name, packed_bytes());
  pack(weights, packed.data());
  return packed;
}

void Matmul::apply(const void* x, std::size_t num_rows, const void* packed, float* y) const {
  expects(num_rows >= 1 && num_rows <= max_rows, "a matmul takes between 1 and max_rows rows");
  apply_as(rows(), static_cast<const std::byte*>(x), num_rows, static_cast<const std::byte*>(packed), y);
}

void Matmul::apply_as(Rows rows, const std::byte* x, std::size_t num_rows, const std::byte* packed,
                      float* y) const {
  const std::size_t row_bytes = in_ * bytes_of(dtype_);
  switch (rows) {
    case Rows::exact:
      library_->run(x, num_rows, packed, y);
      return;
    case Rows::padded:
      for (std::size_t row = 0; row < num_rows; row += padded_rows) {
        apply_padded(x + row * row_bytes, std::min(padded_rows, num_rows - row), packed, y + row * out_);
      }
      return;
    case Rows::single:
      for (std::size_t row = 0; row < num_rows; ++row) {
        library_->run(x + row * row_bytes, 1, packed, y + row * out_);
      }
      return;
  }
}

void Matmul::apply_padded(const std::byte* x, std::size_t num_rows, const std::byte* packed, float* y) const {
  thread_local std::vector<std::byte> padded_x;
  thread_local std::vector<float> padded_y;
  padded_x.assign(padded_rows * in_ * bytes_of(dtype_), std::byte{});
  padded_y.resize(padded_rows * out_);
  std::copy_n(x, num_rows * in_ * bytes_of(dtype_), padded_x.begin());
  library_->run(padded_x.data(), padded_rows, packed, padded_y.data());
  std::copy_n(padded_y.begin(), num_rows * out_, y);
}

/// A few different rows, computed alone, must come out the same wherever they stand in a batch of any size.
bool Matmul::rows_are_independent(Rows rows, const std::byte* packed) const {
  constexpr std::size_t num_probes = 7;  // coprime to the sizes of the library's blocks of rows
  const std::size_t row_bytes = in_ * bytes_of(dtype_);
  const std::vector<std::byte> probes = random_rows(num_probes * in_, dtype_);
  std::vector<float> expected(num_probes * out_);
  for (std::size_t probe = 0; probe < num_probes; ++probe) {
    apply_as(rows, probes.data() + probe * row_bytes, 1, packed, expected.data() + probe * out_);
  }
  std::vector<std::byte> batch(max_rows * row_bytes);
  std::vector<float> together(max_rows * out_);
  for (std::size_t row = 0; row < max_rows; ++row) {
    std::copy_n(probes.data() + row % num_probes * row_bytes, row_bytes, batch.data() + row * row_bytes);
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

Matmul::Rows Matmul::rows() const {
  if (library_->is_tested.load(std::memory_order_acquire)) return library_->rows;
  const std::lock_guard lock(library_->test_mutex);
  if (!library_->is_tested.load()) library_->rows = find_rows();
  library_->is_tested.store(true, std::memory_order_release);
  return library_->rows;
}

Matmul::Rows Matmul::find_rows() const {
  std::vector<std::byte> packed(packed_bytes());
  pack(random_values(in_ * out_), packed.data());
  for (const Rows rows : {Rows::exact, Rows::padded}) {
    if (rows_are_independent(rows, packed.data())) return rows;
  }
  return Rows::single;
}

std::shared_ptr<const Matmul> MatmulCache::get(std::size_t in, std::size_t out, Dtype dtype) {
  std::shared_ptr<const Matmul>& cached = by_shape_[{in, out, dtype}];
  if (!cached) cached = std::make_shared<const Matmul>(in, out, dtype);
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
    case dnnl::cpu_isa::avx512_core_amx:
      return "AVX512 with BF16 and AMX";
    default:
      return "other";
  }
}

}  // namespace moewe
