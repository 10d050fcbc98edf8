// How cuBLAS is called, with a stand-in that does on the host what its documentation says of the call.

#include "runtime/kernels/cublas/cublas_groups.hpp"

#include <gtest/gtest.h>

#include "comm/error.hpp"
#include "runtime/kernels/cublas/cublas_matmul.hpp"
#include "tests/gpu/groups_run.hpp"

namespace moewe {
namespace {

/// Elements of a matrix that lies by columns.
class ByColumns {
 public:
  ByColumns(const void* values, int leading, cudaDataType_t type)
      : values_(values), leading_(static_cast<std::size_t>(leading)), type_(type) {}

  float at(int row, int column) const {
    const std::size_t i = place(row, column);
    return type_ == CUDA_R_32F ? static_cast<const float*>(values_)[i]
                               : widen(static_cast<const Bf16*>(values_)[i]);
  }
  std::size_t place(int row, int column) const {
    return static_cast<std::size_t>(column) * leading_ + static_cast<std::size_t>(row);
  }

 private:
  const void* values_;
  std::size_t leading_;
  cudaDataType_t type_;
};

struct StandIn {
  static inline cublasStatus_t on_create = CUBLAS_STATUS_SUCCESS;
  static inline cublasStatus_t on_multiply = CUBLAS_STATUS_SUCCESS;
  static inline cudaStream_t stream = nullptr;
  static inline void* workspace = nullptr;
  static inline int num_handles = 0;

  static cublasStatus_t create(cublasHandle_t* handle) {
    *handle = nullptr;
    if (on_create == CUBLAS_STATUS_SUCCESS) ++num_handles;
    return on_create;
  }
  static cublasStatus_t destroy(cublasHandle_t) {
    --num_handles;
    return CUBLAS_STATUS_SUCCESS;
  }
  static cublasStatus_t set_stream(cublasHandle_t, cudaStream_t next) {
    stream = next;
    workspace = nullptr;
    return CUBLAS_STATUS_SUCCESS;
  }
  static cublasStatus_t set_workspace(cublasHandle_t, void* memory, std::size_t) {
    workspace = memory;
    return CUBLAS_STATUS_SUCCESS;
  }
  static cublasStatus_t multiply(cublasHandle_t, const cublasOperation_t* transa,
                                 const cublasOperation_t* transb, const int* m, const int* n, const int* k,
                                 const void* alpha, const void* const* a, cudaDataType_t atype,
                                 const int* lda, const void* const* b, cudaDataType_t btype, const int* ldb,
                                 const void* beta, void* const* c, cudaDataType_t ctype, const int* ldc,
                                 int group_count, const int* group_size, cublasComputeType_t compute) {
    if (on_multiply != CUBLAS_STATUS_SUCCESS) return on_multiply;
    EXPECT_EQ(compute, CUBLAS_COMPUTE_32F);
    for (int g = 0, i = 0; g < group_count; ++g) {
      EXPECT_EQ(static_cast<const float*>(alpha)[g], 1.0F);
      EXPECT_EQ(static_cast<const float*>(beta)[g], 0.0F);
      EXPECT_GT(n[g], 0);
      for (int j = 0; j < group_size[g]; ++j, ++i)
        multiply_one({a[i], lda[g], atype}, transa[g] == CUBLAS_OP_T, {b[i], ldb[g], btype},
                     transb[g] == CUBLAS_OP_T, c[i], {c[i], ldc[g], ctype}, ctype, m[g], n[g], k[g]);
    }
    return CUBLAS_STATUS_SUCCESS;
  }
  static cublasStatus_t multiply_alone(cublasHandle_t, cublasOperation_t transa, cublasOperation_t transb,
                                       int m, int n, int k, const void* alpha, const void* a,
                                       cudaDataType atype, int lda, const void* b, cudaDataType btype,
                                       int ldb, const void* beta, void* c, cudaDataType ctype, int ldc,
                                       cublasComputeType_t compute, cublasGemmAlgo_t) {
    const int one = 1;
    EXPECT_NE(atype, ctype) << "which all groups could be multiplied in together";
    return multiply(nullptr, &transa, &transb, &m, &n, &k, alpha, &a, atype, &lda, &b, btype, &ldb, beta, &c,
                    ctype, &ldc, 1, &one, compute);
  }
  static void multiply_one(const ByColumns& a, bool is_a_transposed, const ByColumns& b, bool is_b_transposed,
                           void* to, const ByColumns& c, cudaDataType_t type, int m, int n, int k) {
    for (int row = 0; row < m; ++row) {
      for (int column = 0; column < n; ++column) {
        float sum = 0;
        for (int i = 0; i < k; ++i)
          sum += (is_a_transposed ? a.at(i, row) : a.at(row, i)) *
                 (is_b_transposed ? b.at(column, i) : b.at(i, column));
        if (type == CUDA_R_32F) {
          static_cast<float*>(to)[c.place(row, column)] = sum;
        } else {
          static_cast<Bf16*>(to)[c.place(row, column)] = round_to_bf16(sum);
        }
      }
    }
  }
  static const char* status_string(cublasStatus_t status) {
    return status == CUBLAS_STATUS_NOT_SUPPORTED ? "NOT SUPPORTED" : "NOT INITIALIZED";
  }
};

const CublasLibrary stand_in{nullptr,
                             StandIn::status_string,
                             StandIn::create,
                             StandIn::destroy,
                             StandIn::set_stream,
                             StandIn::set_workspace,
                             StandIn::multiply_alone,
                             StandIn::multiply};

/// A stream of no GPU, which runs everything where it is enqueued.
class StreamOnHost : public Queue {
 public:
  void copy(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void fill(void* to, unsigned char value, std::size_t bytes) override { std::memset(to, value, bytes); }
  void record(Event&) override {}
  void wait_for(const Event&) override {}
  void set_flags(std::span<const FlagValue>) override {}
  void wait_for_flags(std::span<const FlagValue>) override {}
  std::unique_ptr<Graph> record_graph(const std::function<void()>&) override { return nullptr; }
  void launch(Graph&) override {}
  bool is_idle() override { return true; }

  StreamHandle handle() { return reinterpret_cast<StreamHandle>(this); }

 protected:
  StreamHandle current_stream() override { return handle(); }
  void check_launch(const char* kernel, int code) override {
    if (code != 0) throw Error(ErrorKind::communication, kernel);
  }
  void enqueue(std::function<void()>) override { FAIL() << "kernels run by their bodies"; }
};

TEST(CublasGroups, CallsTheLibraryWithWhatYieldsTheTwinsResults) {
  const auto device = choose_device(DeviceChoice::cpu, 0).device;
  std::byte workspace[1];
  for (const test::GroupsCase& c : test::groups_cases()) {
    CublasGroups library(stand_in, workspace, sizeof workspace);
    StreamOnHost stream;
    test::GroupsMemory memory(c, *device);
    run_groups(stream, memory.arguments(&library));
    EXPECT_EQ(StandIn::stream, c.num_rows.empty() ? nullptr : stream.handle());
    EXPECT_EQ(StandIn::workspace, c.num_rows.empty() ? nullptr : workspace);
    EXPECT_TRUE(test::is_same(memory.result(), test::run(c, *device))) << c.in << " x " << c.out;
  }
  EXPECT_EQ(StandIn::num_handles, 0);
}

std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(CublasGroups, AnErrorIsNamedWithTheCallThatFailed) {
  const auto device = choose_device(DeviceChoice::cpu, 0).device;
  const test::GroupsCase c = test::groups_cases().back();
  test::GroupsMemory memory(c, *device);
  StreamOnHost stream;
  CublasGroups library(stand_in, nullptr, 0);
  StandIn::on_multiply = CUBLAS_STATUS_NOT_SUPPORTED;
  EXPECT_EQ(message_of([&] { run_groups(stream, memory.arguments(&library)); }),
            "cuBLAS reported 'NOT SUPPORTED' in cublasGemmGroupedBatchedEx");
  StandIn::on_multiply = CUBLAS_STATUS_SUCCESS;
  StandIn::on_create = CUBLAS_STATUS_NOT_INITIALIZED;
  EXPECT_EQ(message_of([&] { CublasGroups another(stand_in, nullptr, 0); }),
            "cuBLAS reported 'NOT INITIALIZED' in cublasCreate");
  StandIn::on_create = CUBLAS_STATUS_SUCCESS;
}

TEST(CublasGroups, TheLibraryThatIsThereHasAllThatIsUsed) {
  if (!reason_for_no_cublas().empty()) GTEST_SKIP() << reason_for_no_cublas();
  EXPECT_GE(std::stoi(cublas_version()), 12);
}

}  // namespace
}  // namespace moewe
