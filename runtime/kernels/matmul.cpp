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

  void execute(const dnnl::matmul& primitive, const float* x, const float* packed, float* y) {
    // oneDNN takes all handles as mutable and writes only to y and the scratchpad.
    x_.set_data_handle(const_cast<float*>(x));
    weights_.set_data_handle(const_cast<float*>(packed));
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

  void run(const float* x, const float* packed, float* y) {
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
  Library(std::size_t in_features, std::size_t out_features)
      : in(in_features), out(out_features), packed_weights(choose_layout()) {}

  ~Library() {
    for (const auto& primitive : primitives) delete primitive.load();
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  dnnl::matmul::primitive_desc describe(std::size_t num_rows, const memory::desc& weights) const {
    const OneThread one_thread;
    return onednn::describe_matmul(f32_matrix(num_rows, in, memory::format_tag::ab), weights,
                                   f32_matrix(num_rows, out, memory::format_tag::ab));
  }

  memory::desc choose_layout() const {
    return describe(max_rows, f32_matrix(in, out, memory::format_tag::any)).weights_desc();
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

  void run(const float* x, std::size_t num_rows, const float* packed, float* y) {
    Primitive& primitive = primitive_for(num_rows);
    const OneThread one_thread;
    primitive.run(x, packed, y);
  }

  std::size_t in;
  std::size_t out;
  memory::desc packed_weights;
  std::mutex mutex;  // of whoever creates a primitive; found ones need none
  std::array<std::atomic<Primitive*>, max_rows + 1> primitives{};

  std::mutex test_mutex;
  std::atomic<bool> is_tested{false};
  Rows rows = Rows::single;  // once tested
};

Matmul::Matmul(std::size_t in, std::size_t out)
    : in_(in), out_(out), library_(std::make_unique<Library>(in, out)) {}

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
  apply_as(rows(), x, num_rows, packed, y);
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

Matmul::Rows Matmul::rows() const {
  if (library_->is_tested.load(std::memory_order_acquire)) return library_->rows;
  const std::lock_guard lock(library_->test_mutex);
  if (!library_->is_tested.load()) library_->rows = find_rows();
  library_->is_tested.store(true, std::memory_order_release);
  return library_->rows;
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
