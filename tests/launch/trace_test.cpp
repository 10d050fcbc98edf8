#include "launch/trace.hpp"

#include <cstdlib>
#include <gtest/gtest.h>
#include <limits>
#include <random>

#include "comm/error.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_bytes.hpp"

namespace moewe {
namespace {

using test::bytes_of;
using test::write_bytes;

constexpr std::size_t num_experts = 9;

/// Choices [steps, layers, tokens, k] of different experts each, and how a file holds them.
struct Choices {
  std::size_t steps, layers, tokens, k;
  std::vector<int> ids;

  Choices(std::size_t steps_, std::size_t layers_, std::size_t tokens_, std::size_t k_)
      : steps(steps_), layers(layers_), tokens(tokens_), k(k_) {
    std::mt19937 random(7);
    std::vector<int> experts(num_experts);
    for (std::size_t e = 0; e < num_experts; ++e) experts[e] = static_cast<int>(e);
    for (std::size_t row = 0; row < steps * layers * tokens; ++row) {
      std::shuffle(experts.begin(), experts.end(), random);
      ids.insert(ids.end(), experts.begin(), experts.begin() + static_cast<std::ptrdiff_t>(k));
    }
  }

  std::size_t place(std::size_t step, std::size_t layer, std::size_t token) const {
    return ((step * layers + layer) * tokens + token) * k;
  }

  std::string bytes(const std::string& dtype) const {
    if (dtype == "U8") return bytes_of(std::vector<std::uint8_t>(ids.begin(), ids.end()));
    if (dtype == "I16") return bytes_of(std::vector<std::int16_t>(ids.begin(), ids.end()));
    if (dtype == "I64") return bytes_of(std::vector<std::int64_t>(ids.begin(), ids.end()));
    return bytes_of(std::vector<std::int32_t>(ids.begin(), ids.end()));
  }

  std::string safetensors(const std::string& dtype) const {
    return test::safetensors_bytes({{"topk_ids", dtype, {steps, layers, tokens, k}, bytes(dtype)}});
  }

  std::vector<float> weights() const {
    std::vector<float> weights;
    for (const int id : ids) weights.push_back(static_cast<float>(id) / 8.0F - 0.25F);
    return weights;
  }
};

std::string npy_bytes(const std::string& dictionary, const std::string& data, int version = 1) {
  std::string length{static_cast<char>(dictionary.size() % 256), static_cast<char>(dictionary.size() / 256)};
  if (version > 1) length += std::string(2, '\0');
  return std::string("\x93NUMPY") + static_cast<char>(version) + '\0' + length + dictionary + data;
}

std::string dictionary(const std::string& descr, const std::string& shape) {
  return "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }     \n";
}

/// [tokens, layers, k] as numpy writes it; `choices` has one token per step.
std::string npy(const Choices& choices, const std::string& descr, const std::string& dtype, int version = 1) {
  return npy_bytes(
      dictionary(descr, "(" + std::to_string(choices.steps) + ", " + std::to_string(choices.layers) + ", " +
                            std::to_string(choices.k) + ")"),
      choices.bytes(dtype), version);
}

/// What a trace says of a run's step, over all its tokens.
std::vector<int> ids_of(const Trace& trace, TraceStep step, TokenRange range) {
  std::vector<ExpertId> ids(range.count * trace.top_k());
  std::vector<float> weights(ids.size());
  trace.read(step, range, ids, weights);
  std::vector<int> numbers;
  for (const ExpertId id : ids) numbers.push_back(number(id));
  return numbers;
}

/// The oracle: the layer's whole sequence, repeated without end.
std::vector<int> expected_ids(const Choices& choices, TraceStep step, TokenRange range) {
  std::vector<int> sequence;
  for (std::size_t s = 0; s < choices.steps; ++s) {
    const auto begin = choices.ids.begin() + static_cast<std::ptrdiff_t>(choices.place(s, step.layer, 0));
    sequence.insert(sequence.end(), begin, begin + static_cast<std::ptrdiff_t>(choices.tokens * choices.k));
  }
  std::vector<int> ids;
  const std::size_t first = step.step * step.num_tokens + range.first;
  for (std::size_t i = first * choices.k; i < (first + range.count) * choices.k; ++i) {
    ids.push_back(sequence[i % sequence.size()]);
  }
  return ids;
}

void expect_same(const Trace& trace, const Choices& choices) {
  EXPECT_EQ(trace.num_layers(), choices.layers);
  EXPECT_EQ(trace.top_k(), choices.k);
  for (std::size_t layer = 0; layer < choices.layers; ++layer) {
    EXPECT_NO_THROW(trace.check_layer(layer));
    for (const std::size_t num_tokens : {1U, 3U, 7U, 24U, 100U}) {
      for (const std::size_t step : {0U, 1U, 2U, 5U, 1000U}) {
        const TraceStep run{layer, step, num_tokens};
        for (const TokenRange range :
             {TokenRange{0, num_tokens}, {num_tokens / 2, num_tokens - num_tokens / 2}, {1, 0}}) {
          EXPECT_EQ(ids_of(trace, run, range), expected_ids(choices, run, range));
        }
      }
    }
  }
}

class TraceFiles : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& bytes) const {
    write_bytes(folder_ / "trace", bytes);
    return folder_ / "trace";
  }

  /// Without the path; of all layers.
  std::string refusal(const std::string& bytes) const {
    const std::filesystem::path path = write(bytes);
    const std::string message = test::message_of<InvalidInput>([&] {
      const Trace trace(path, num_experts);
      for (std::size_t layer = 0; layer < trace.num_layers(); ++layer) trace.check_layer(layer);
    });
    if (message.empty()) return "";
    EXPECT_EQ(message.rfind(path.string() + ": ", 0), 0U) << message;
    return message.substr(path.string().size() + 2);
  }

 private:
  test::TemporaryFolder folder_;
};

TEST_F(TraceFiles, GiveEveryLayersSequenceOverAndOver) {
  const Choices choices(4, 3, 5, 2);
  for (const char* dtype : {"U8", "I16", "I32"}) {
    const Trace trace(write(choices.safetensors(dtype)), num_experts);
    EXPECT_EQ(trace.tokens_per_step(), 5U);
    EXPECT_EQ(trace.num_tokens(), 20U);
    expect_same(trace, choices);
  }
  const Choices one_token(11, 3, 1, 9);
  expect_same(Trace(write(one_token.safetensors("U8")), num_experts), one_token);
  EXPECT_EQ(Trace(write(one_token.safetensors("U8")), num_experts).tokens_per_step(), 1U);
}

TEST_F(TraceFiles, OfNumpySayTheSame) {
  const Choices choices(23, 3, 1, 4);
  for (const auto& [descr, dtype] :
       {std::pair{"|u1", "U8"}, std::pair{"<i2", "I16"}, std::pair{"<i4", "I32"}, std::pair{"<i8", "I64"}}) {
    for (const int version : {1, 2, 3}) {
      const Trace trace(write(npy(choices, descr, dtype, version)), num_experts);
      EXPECT_EQ(trace.tokens_per_step(), 23U);
      expect_same(trace, choices);
    }
  }
}

TEST_F(TraceFiles, ThatAreLargerThanAWindowAreReadInPieces) {
  const Choices choices(9000, 3, 1, 4);  // 108 kB of ids
  const Choices steps(30, 3, 300, 4);
  for (const auto& [bytes, expected] :
       {std::pair{npy(choices, "|u1", "U8"), &choices}, {steps.safetensors("I32"), &steps}}) {
    const Trace trace(write(bytes), num_experts);
    const TraceStep run{1, 1, 8500};
    EXPECT_EQ(ids_of(trace, run, {0, 8500}), expected_ids(*expected, run, {0, 8500}));
  }
}

TEST_F(TraceFiles, GiveEqualWeightsUnlessTheyRecordedOthers) {
  const Choices choices(2, 2, 3, 4);
  std::vector<ExpertId> ids(6 * 4);
  std::vector<float> weights(ids.size());
  Trace(write(choices.safetensors("U8")), num_experts).read({1, 0, 6}, {0, 6}, ids, weights);
  EXPECT_EQ(weights, std::vector<float>(24, 0.25F));

  for (const char* dtype : {"F32", "BF16"}) {
    const std::string bytes =
        *dtype == 'F' ? bytes_of(choices.weights()) : test::bf16_bytes_of(choices.weights());
    const Trace trace(write(test::safetensors_bytes({{"topk_ids", "U8", {2, 2, 3, 4}, choices.bytes("U8")},
                                                     {"topk_weights", dtype, {2, 2, 3, 4}, bytes}})),
                      num_experts);
    EXPECT_TRUE(trace.has_weights());
    trace.read({1, 0, 6}, {0, 6}, ids, weights);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      EXPECT_EQ(weights[i], static_cast<float>(number(ids[i])) / 8.0F - 0.25F);
    }
  }
}

TEST_F(TraceFiles, NameWhereAnExpertIsThatDoesNotExist) {
  for (const int id : {9, 255}) {
    Choices choices(4, 3, 5, 2);
    choices.ids[choices.place(2, 1, 3) + 1] = id;
    EXPECT_EQ(refusal(choices.safetensors("U8")),
              "step 2, layer 1, token 3, k 1: expert " + std::to_string(id) + " is not between 0 and 8");
  }
  Choices choices(4, 3, 5, 2);
  choices.ids[choices.place(2, 1, 3)] = -1;
  EXPECT_EQ(refusal(choices.safetensors("I16")),
            "step 2, layer 1, token 3, k 0: expert -1 is not between 0 and 8");
  Choices sequence(23, 3, 1, 2);
  sequence.ids[sequence.place(17, 2, 0) + 1] = 9;
  EXPECT_EQ(refusal(npy(sequence, "<i4", "I32")),
            "step 0, layer 2, token 17, k 1: expert 9 is not between 0 and 8");
}

TEST_F(TraceFiles, NameWhereOneTokenChoosesAnExpertTwice) {
  Choices choices(4, 3, 5, 4);
  const std::size_t place = choices.place(3, 0, 4);
  choices.ids[place + 3] = choices.ids[place + 1];
  EXPECT_EQ(refusal(choices.safetensors("I32")), "step 3, layer 0, token 4, k 3: expert " +
                                                     std::to_string(choices.ids[place + 1]) +
                                                     " is chosen twice by one token");
}

TEST_F(TraceFiles, NameWhereAWeightIsNotFinite) {
  const Choices choices(2, 2, 3, 4);
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> weights = choices.weights();
    weights[choices.place(1, 0, 2) + 3] = value;
    const std::string message =
        refusal(test::safetensors_bytes({{"topk_ids", "U8", {2, 2, 3, 4}, choices.bytes("U8")},
                                         {"topk_weights", "F32", {2, 2, 3, 4}, bytes_of(weights)}}));
    EXPECT_EQ(message.rfind("step 1, layer 0, token 2, k 3: the weight ", 0), 0U) << message;
  }
}

TEST_F(TraceFiles, RefuseTensorsThatAreNoTrace) {
  const std::string four(4, '\0');
  const auto one = [&](const std::string& name, const std::string& dtype, std::vector<std::size_t> shape,
                       const std::string& bytes) {
    return refusal(test::safetensors_bytes({{name, dtype, std::move(shape), bytes}}));
  };
  EXPECT_EQ(one("ids", "U8", {1, 1, 1, 1}, "\1"), "tensor 'topk_ids' is missing");
  EXPECT_EQ(one("topk_id", "U8", {1, 1, 1, 1}, "\1"),
            "tensor 'topk_id' is neither topk_ids nor topk_weights");
  EXPECT_EQ(one("topk_ids", "U8", {2, 1, 2}, four),
            "tensor 'topk_ids' has shape [2, 1, 2] instead of [steps, layers, tokens, k]");
  EXPECT_EQ(one("topk_ids", "U32", {1, 1, 1, 1}, four),
            "tensor 'topk_ids' has dtype U32; U8, I16 and I32 can be read");
  EXPECT_EQ(one("topk_ids", "U8", {1, 1, 1, 10}, std::string(10, '\0')),
            "a trace of top-10 cannot be of a model with 9 experts");
  for (std::size_t i = 0; i < 4; ++i) {
    std::vector<std::size_t> shape{2, 2, 2, 2};
    shape[i] = 0;
    EXPECT_EQ(one("topk_ids", "U8", shape, "").rfind("an empty trace: ", 0), 0U);
  }
  const auto with_weights = [&](const std::string& dtype, std::vector<std::size_t> shape) {
    return refusal(
        test::safetensors_bytes({{"topk_ids", "U8", {1, 1, 2, 1}, "\1\2"},
                                 {"topk_weights", dtype, std::move(shape), std::string(8, '\0')}}));
  };
  EXPECT_EQ(with_weights("F32", {1, 1, 2, 1}), "");
  EXPECT_EQ(with_weights("F32", {1, 2, 1, 1}),
            "tensor 'topk_weights' has shape [1, 2, 1, 1], but topk_ids [1, 1, 2, 1]");
  EXPECT_EQ(with_weights("I32", {1, 1, 2, 1}),
            "tensor 'topk_weights' has dtype I32; F32 and BF16 can be read");
  EXPECT_NE(refusal("neither of them"), "");
  EXPECT_NE(refusal(""), "");
}

TEST_F(TraceFiles, RefuseNumpyFilesOfAnotherForm) {
  const std::string good = dictionary("|u1", "(2, 1, 2)");
  const std::string data{1, 2, 3, 4};
  EXPECT_EQ(refusal(npy_bytes(good, data)), "");
  EXPECT_EQ(refusal(npy_bytes(R"({"shape":(2,1,2),"fortran_order":False,"descr":"|u1"})", data)), "");
  EXPECT_EQ(refusal(npy_bytes("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 1, 2)}", data)),
            "is in Fortran order; only C order can be read");
  for (const char* descr : {"|i1", "<u2", ">i2", ">i4", "<f4", "<U2", "|O", "|b1", "i4", ""}) {
    EXPECT_EQ(refusal(npy_bytes(dictionary(descr, "(2, 1, 2)"), data)),
              "has dtype '" + std::string(descr) + "'; |u1, <i2, <i4 and <i8 can be read");
  }
  for (const char* shape : {"()", "(4,)", "(2, 2)", "(2, 1, 2, 1)"}) {
    EXPECT_NE(refusal(npy_bytes(dictionary("|u1", shape), data)).find("instead of [tokens, layers, k]"),
              std::string::npos);
  }
  for (const char* shape : {"(2, 1, 3)", "(1, 1, 2)", "(9223372036854775807, 2, 2)", "(0, 1, 2)"}) {
    EXPECT_NE(refusal(npy_bytes(dictionary("|u1", shape), data)).find("holds 4 bytes of data"),
              std::string::npos);
  }
  EXPECT_EQ(refusal(npy_bytes(dictionary("|u1", "(0, 1, 2)"), "")).rfind("an empty trace: ", 0), 0U);
  for (const std::string& text :
       {std::string(), std::string("{}"), good + "x", good + good, std::string("{'descr': '|u1'}"),
        dictionary("|u1", "(2, -1, 2)"), dictionary("|u1", "(2, 1, 2"), dictionary("|u1", "[2, 1, 2]"),
        dictionary("|u1", "(2, 1.0, 2)"), dictionary("|u1", "(2L, 1, 2)"), dictionary("|u1", "(,)"),
        dictionary("|u1", "(18446744073709551616, 1, 2)"), dictionary("|u1", "(2, 1, 2), 'shape': (2, 1, 2)"),
        dictionary("|u1", "(2, 1, 2), 'more': 1"), std::string("{'descr': '|u1"),
        std::string("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (2, 1, 2)}"),
        std::string("{'descr': '|u1', 'fortran_order': false, 'shape': (2, 1, 2)}")}) {
    EXPECT_NE(refusal(npy_bytes(text, data)).find("is not the dictionary"), std::string::npos) << text;
  }
}

TEST_F(TraceFiles, RefuseNumpyFilesOfAnotherVersionOrCutShort) {
  const std::string whole = npy_bytes(dictionary("|u1", "(2, 1, 2)"), std::string{1, 2, 3, 4});
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_NE(refusal(whole.substr(0, length)), "");
  EXPECT_NE(refusal(whole + "x"), "");
  for (const auto& [major, minor] : {std::pair{0, 0}, {4, 0}, {1, 1}, {255, 0}}) {
    std::string other = whole;
    other[6] = static_cast<char>(major);
    other[7] = static_cast<char>(minor);
    EXPECT_EQ(refusal(other), "is of .npy version " + std::to_string(major) + "." + std::to_string(minor) +
                                  "; 1.0, 2.0 and 3.0 can be read");
  }
  EXPECT_NE(
      refusal(std::string("\x93NUMPY\x02\0\xFF\xFF\xFF\xFF", 12) + std::string(100, ' ')).find("longer than"),
      std::string::npos);
}

TEST(TraceLayerFor, TakesTheModelsNumberOrThePlaceAmongMoeLayers) {
  const std::vector<std::size_t> moe_layers{1, 3, 5};
  EXPECT_EQ(trace_layer_for(6, 6, moe_layers, 3), 3U);
  EXPECT_EQ(trace_layer_for(3, 6, moe_layers, 3), 1U);
  EXPECT_EQ(trace_layer_for(3, 6, moe_layers, 5), 2U);
  EXPECT_EQ(trace_layer_for(4, 6, moe_layers, 3), std::nullopt);
  EXPECT_THROW(trace_layer_for(6, 6, moe_layers, 2), Error);
}

/// The project's recorded traces: every id is there once, none is refused.
TEST(RecordedTraces, AreReadWhole) {
  const char* data = std::getenv("MOEWE_DATA");
  if (data == nullptr) GTEST_SKIP() << "MOEWE_DATA is not set";
  struct Expected {
    const char* file;
    std::size_t experts, layers, k, tokens_per_step, tokens;
  };
  for (const auto& [file, experts, layers, k, tokens_per_step, tokens] :
       {Expected{"tiny-mixtral/routing_trace.safetensors", 8, 4, 2, 2048, 96 * 2048},
        Expected{"tiny-deepseek/routing_trace.safetensors", 32, 4, 4, 2048, 96 * 2048},
        Expected{"mixtral_8x7b_routing/w0-routing.npy", 8, 32, 2, 366, 366},
        Expected{"mixtral_8x7b_routing/w1-routing.npy", 8, 32, 2, 16470, 16470}}) {
    const Trace trace(std::filesystem::path(data) / file, experts);
    EXPECT_EQ(trace.num_layers(), layers);
    EXPECT_EQ(trace.top_k(), k);
    EXPECT_EQ(trace.tokens_per_step(), tokens_per_step);
    EXPECT_EQ(trace.num_tokens(), tokens);
    for (std::size_t layer = 0; layer < layers; ++layer) EXPECT_NO_THROW(trace.check_layer(layer));
    EXPECT_THROW(Trace(std::filesystem::path(data) / file, 7).check_layer(0), InvalidInput);
  }
}

}  // namespace
}  // namespace moewe
