// The same program where the matrix library may use AVX2 and no more: other bits, but again the same ones
// everywhere.

#include <gtest/gtest.h>

#include "tests/support/program.hpp"

namespace moewe {
namespace {

using test::results_of;
using test::Sample;
using test::shipped;

const std::string avx2 = "ONEDNN_MAX_CPU_ISA=AVX2 DNNL_MAX_CPU_ISA=AVX2";

class Avx2 : public testing::TestWithParam<const char*> {
 protected:
  std::string options() const { return shipped().run_recorded() + " --dtype " + GetParam(); }
};

TEST_P(Avx2, MatchesTheReferenceAndSaysHowItIsUsed) {
  for (const Sample& sample : test::samples()) {
    const auto json = results_of(test::threads(2), sample.run_recorded() + " --dtype " + GetParam(), avx2);
    EXPECT_EQ(json["isa"], "AVX2");
    EXPECT_EQ(json["matmul_rows"], "padded");
    EXPECT_EQ(json["verify"]["compared_rows"], sample.num_layers * sample.num_tokens);
    EXPECT_EQ(json["verify"]["mismatched"], 0);
  }
}

TEST_P(Avx2, GivesOneHash) {
  const std::string expected = hash_of(test::threads(1), options(), avx2);
  for (const test::Ranks ranks :
       {test::threads(2), test::threads(4), test::processes(2), test::processes(4)}) {
    for (const char* path : {" --path direct", " --path message"}) {
      EXPECT_EQ(hash_of(ranks, options() + path, avx2), expected) << describe(ranks) << path;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Avx2, testing::Values("f32", "bf16"),
                         [](const auto& dtype) { return std::string(dtype.param); });

}  // namespace
}  // namespace moewe
