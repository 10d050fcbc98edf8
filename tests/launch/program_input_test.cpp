// Inputs and traces that cannot be used are answered with one sentence that says where.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <limits>

#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_files.hpp"

namespace moewe {
namespace {

using test::expect_refusals;
using test::Refusal;
using test::shipped;
using test::TemporaryFolder;
using test::TensorBytes;

class Input : public testing::Test {
 protected:
  /// A file of its own, and the path to it.
  std::string write(const std::string& bytes) {
    const auto path = folder_ / fmt::format("file-{}", next_++);
    test::write_bytes(path, bytes);
    return path.string();
  }

  std::string with_input(const std::vector<TensorBytes>& tensors) {
    return shipped().run() + " --input " + write(test::safetensors_bytes(tensors));
  }

  /// What is recorded with one tensor replaced.
  std::string with_recorded(const TensorBytes& tensor) {
    auto tensors = test::read_tensors(shipped().activations());
    test::find_tensor(tensors, tensor.name) = tensor;
    return with_input(tensors);
  }

  std::string with_trace(const std::string& dtype, const std::vector<std::size_t>& shape,
                         const std::string& ids) {
    return shipped().run() +
           " --tokens 4 --routing trace:" + write(test::safetensors_bytes({{"topk_ids", dtype, shape, ids}}));
  }

  const TemporaryFolder& folder() const { return folder_; }

 private:
  TemporaryFolder folder_;
  int next_ = 0;
};

TensorBytes floats(const std::string& name, const std::vector<std::size_t>& shape, float value = 0.5F) {
  std::size_t count = 1;
  for (const std::size_t length : shape) count *= length;
  return {name, "F32", shape, test::bytes_of(std::vector<float>(count, value))};
}

TEST_F(Input, ThatIsNoInputIsRefused) {
  const std::string sample = shipped().run();
  const std::string folder_of_sample = shipped().folder.string();
  expect_refusals({
      {sample + " --input /no/such/file", "/no/such/file: No such file or directory"},
      {sample + " --input " + folder_of_sample, "Is a directory"},
      {sample + " --input " + folder_of_sample + "/README.md", "README.md: "},
      {sample + " --input " + folder_of_sample + "/model.safetensors", "holds no tensor layers.N.input"},
      {shipped().run_recorded() + " --tokens 513", "has 512 tokens, fewer than the 513 asked for"},
      {shipped().run_recorded() + " --layers 2", "layer 2"},
  });
}

TEST_F(Input, OfAnotherShapeIsRefused) {
  expect_refusals({
      {with_input({floats("layers.0.input", {4, 64})}), "has shape [4, 64] instead of [tokens, 128]"},
      {with_input({floats("layers.0.input", {512})}), "has shape [512] instead of [tokens, 128]"},
      {with_input({floats("layers.0.input", {2, 2, 128})}), "has shape [2, 2, 128] instead of [tokens, 128]"},
      {with_input({floats("layers.0.input", {4, 128}), floats("layers.1.input", {5, 128})}),
       "layer 0 has 4 tokens and layer 1 has 5; --tokens N takes the first N of each"},
      {with_input({floats("layers.0.input", {4, 128})}) + " --layers 0-1", "layers.1.input"},
      {with_input({floats("layers.9.input", {4, 128})}), "layer 9"},
      {with_input({{"layers.0.input", "I32", {1, 128}, std::string(512, '\0')}}), "I32"},
      {with_recorded(floats("layers.0.output", {512, 64})), "layers.0.output"},
      {with_recorded(floats("layers.1.output", {511, 128})), "layers.1.output"},
      {with_recorded(floats("layers.1.topk_weights", {512, 3})), "layers.1.topk_weights"},
      {with_recorded(floats("layers.0.topk_ids", {512, 2})), "layers.0.topk_ids"},
  });
}

TEST_F(Input, ThatIsNotFiniteIsRefusedByPlace) {
  const auto spoilt = [&](float value) {
    TensorBytes tensor = floats("layers.0.input", {10, 128});
    std::memcpy(tensor.bytes.data() + sizeof value * (7 * 128 + 3), &value, sizeof value);
    return with_input({tensor});
  };
  const float infinity = std::numeric_limits<float>::infinity();
  expect_refusals({
      {spoilt(std::numeric_limits<float>::quiet_NaN()),
       "holds nan at token 7, column 3; inputs must be finite"},
      {spoilt(infinity), "holds inf at token 7, column 3; inputs must be finite"},
      {spoilt(-infinity) + " --dtype bf16", "holds -inf at token 7, column 3; inputs must be finite"},
  });
}

TEST_F(Input, ThatIsCutOrTornIsRefused) {
  const std::string whole = test::read_file(shipped().activations());
  std::string torn = whole;
  torn[4] = 'x';
  const std::string run = shipped().run() + " --input ";
  expect_refusals({
      {run + write(whole.substr(0, whole.size() - 1)), "MetadataIncompleteBuffer"},
      {run + write(whole + "x"), "MetadataIncompleteBuffer"},
      {run + write(whole.substr(0, 100)), "InvalidHeaderLength"},
      {run + write(""), "HeaderTooSmall"},
      {run + write(torn), "Header"},
  });
}

TEST_F(Input, OfATraceThatCannotBeIsRefused) {
  const std::string some("\0\1\2\3", 4);
  expect_refusals({
      {with_trace("U8", {1, 2, 1, 2}, std::string("\0\1\2\10", 4)), "expert 8 is not between 0 and 7"},
      {with_trace("U8", {1, 2, 1, 2}, std::string("\0\0\2\3", 4)), "expert 0 is chosen twice by one token"},
      {with_trace("I32", {1, 2, 1, 2}, test::bytes_of(std::vector<std::int32_t>{0, 1, -1, 3})),
       "expert -1 is not between 0 and 7"},
      {with_trace("U8", {1, 2, 2, 1}, some), "has 1 experts for each token, but the model chooses 2"},
      {with_trace("U8", {1, 1, 2, 2}, some),
       "number of layers is 1, but the model has 2, 2 of them with experts"},
      {with_trace("U8", {4}, some), "topk_ids"},
      {with_trace("F32", {1, 2, 1, 2}, test::bytes_of(std::vector<float>(4))), "F32"},
      {shipped().run() + " --tokens 4 --routing trace:/no/such/file", "/no/such/file"},
      {shipped().run() + " --tokens 4 --routing trace:" + write("\x93NUMPY garbage"), "file-"},
      {shipped().run() + " --tokens 4 --routing trace:" + shipped().activations().string(), "topk_ids"},
  });
}

}  // namespace
}  // namespace moewe
