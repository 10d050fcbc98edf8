// Recorded inputs and the results that are recorded with them.

#include <cmath>
#include <cstdlib>
#include <gtest/gtest.h>
#include <limits>
#include <memory>
#include <mutex>

#include "comm/error.hpp"
#include "comm/loopback/run_ranks.hpp"
#include "launch/reference_check.hpp"
#include "launch/token_source.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_bytes.hpp"

namespace moewe {
namespace {

using test::bytes_of;
using test::TensorBytes;

constexpr std::size_t hidden = 3;

class RecordedFile : public testing::Test {
 protected:
  const SafetensorsFile& open(const std::vector<TensorBytes>& tensors) {
    test::write_bytes(folder_ / "recorded", test::safetensors_bytes(tensors));
    file_ = std::make_unique<SafetensorsFile>(folder_ / "recorded");
    return *file_;
  }

  /// Without the path.
  template <typename Act>
  std::string refusal(Act&& act) const {
    const std::string message = test::message_of<InvalidInput>(act);
    const std::string begin = (folder_ / "recorded").string() + ": ";
    return message.rfind(begin, 0) == 0 ? message.substr(begin.size()) : message;
  }

 private:
  test::TemporaryFolder folder_;
  std::unique_ptr<SafetensorsFile> file_;
};

TensorBytes input(const std::string& name, const std::vector<float>& values) {
  return {name, "F32", {values.size() / hidden, hidden}, bytes_of(values)};
}

std::vector<float> counted(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i);
  return values;
}

TEST_F(RecordedFile, GivesLayersByNumberAndRowsByToken) {
  const SafetensorsFile& file = open({input("layers.11.input", counted(12)),
                                      input("layers.2.input", counted(9)),
                                      {"layers.2.output", "F32", {3, 3}, bytes_of(counted(9))},
                                      {"inputs", "U8", {1}, "x"}});
  EXPECT_EQ(recorded_layers(file), (std::vector<std::size_t>{2, 11}));
  EXPECT_EQ(recorded_tokens(file, 11, hidden), 4U);
  const RecordedTokens tokens(file, {2, 11}, 3, hidden);
  std::vector<float> rows(2 * hidden);
  tokens.read(11, 5, {1, 2}, rows);
  EXPECT_EQ(rows, (std::vector<float>{3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(refusal([&] {
              RecordedTokens(file, {2, 11}, 4, hidden);
            }),
            "tensor 'layers.2.input' has 3 tokens, fewer than the 4 asked for");
}

TEST_F(RecordedFile, RefusesInputsOfNoLayer) {
  for (const char* name :
       {"layers.01.input", "layers.x.input", "layers..input", "layers.-1.input", "layers.+1.input",
        "layers. 1.input", "layers.1.mlp.input", "layers.99999999999999999999.input", "layers.0x1.input"}) {
    const SafetensorsFile& file = open({input("layers.1.input", counted(3)), input(name, counted(3))});
    EXPECT_EQ(refusal([&] { recorded_layers(file); }),
              "tensor '" + std::string(name) + "' is no layer's input; these are called layers.N.input");
  }
  EXPECT_EQ(refusal([&] { recorded_layers(open({input("layers.1.output", counted(3))})); }),
            "holds no tensor layers.N.input");
}

TEST_F(RecordedFile, RefusesInputsOfAnotherShapeOrType) {
  const SafetensorsFile& file = open({input("layers.0.input", counted(6)),
                                      {"layers.1.input", "F32", {2, 3, 1}, bytes_of(counted(6))},
                                      {"layers.2.input", "F16", {1, 3}, std::string(6, '\0')}});
  EXPECT_EQ(recorded_tokens(file, 0, hidden), 2U);
  EXPECT_EQ(refusal([&] { recorded_tokens(file, 0, 2); }),
            "tensor 'layers.0.input' has shape [2, 3] instead of [tokens, 2]");
  EXPECT_EQ(refusal([&] { recorded_tokens(file, 1, hidden); }),
            "tensor 'layers.1.input' has shape [2, 3, 1] instead of [tokens, 3]");
  EXPECT_EQ(refusal([&] { recorded_tokens(file, 2, hidden); }),
            "tensor 'layers.2.input' has dtype F16; F32 and BF16 can be read");
  EXPECT_EQ(refusal([&] { recorded_tokens(file, 3, hidden); }), "tensor 'layers.3.input' is missing");
}

TEST_F(RecordedFile, NamesInputsThatAreNotFinite) {
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    std::vector<float> values = counted(15);
    values[3 * hidden + 2] = value;
    const SafetensorsFile& file = open({input("layers.4.input", values)});
    const RecordedTokens tokens(file, {4}, 5, hidden);
    std::vector<float> rows(3 * hidden);
    EXPECT_NO_THROW(tokens.read(4, 0, {0, 3}, rows));
    const std::string message = refusal([&] { tokens.read(4, 0, {2, 3}, rows); });
    EXPECT_NE(message.find(" at token 3, column 2; inputs must be finite"), std::string::npos) << message;
    EXPECT_EQ(message.rfind("tensor 'layers.4.input' holds ", 0), 0U);
  }
}

/// Four tokens of a layer with five experts and top-2, as computed; what is recorded is the same.
struct Computed {
  std::vector<ExpertId> experts{ExpertId{0}, ExpertId{1}, ExpertId{2}, ExpertId{0},
                                ExpertId{4}, ExpertId{3}, ExpertId{1}, ExpertId{2}};
  std::vector<float> weights{0.75F, 0.25F, 0.5F, 0.5F, 1.0F, 0.0F, 0.625F, 0.375F};
  std::vector<float> selection = std::vector<float>(4 * 5, -std::numeric_limits<float>::infinity());
  std::vector<float> y = counted(4 * hidden);

  Routing routing() const { return {4, 2, experts, weights, selection}; }

  std::vector<TensorBytes> recorded() const {
    return {input("layers.7.input", counted(4 * hidden)),
            input("layers.7.output", y),
            {"layers.7.topk_ids", "I32", {4, 2}, bytes_of(experts)},
            {"layers.7.topk_weights", "F32", {4, 2}, bytes_of(weights)}};
  }
};

/// Compares on two ranks, two tokens each.
ReferenceResult compare_on_two_ranks(const SafetensorsFile& file, const Computed& ours,
                                     bool with_selection = true) {
  ReferenceResult result;
  std::mutex mutex;
  run_ranks(2, std::chrono::minutes(1), [&](Communicator& communicator) {
    ReferenceCheck check(&file, {7}, hidden, 2);
    const TokenRange range = tokens_of_rank(4, 2, communicator.rank());
    const Routing all = ours.routing();
    Routing own{2, 2, all.experts.subspan(range.first * 2, 4), all.weights.subspan(range.first * 2, 4), {}};
    if (with_selection) own.selection = all.selection.subspan(range.first * 5, 10);
    check.compare(7, range, own, std::span(ours.y).subspan(range.first * hidden, 2 * hidden));
    const ReferenceResult total = check.total(communicator);
    const std::lock_guard lock(mutex);
    result = total;
  });
  return result;
}

TEST_F(RecordedFile, AgreesWithTheSameResults) {
  const Computed ours;
  const ReferenceResult result = compare_on_two_ranks(open(ours.recorded()), ours);
  EXPECT_EQ(result.compared_ids, 4);
  EXPECT_EQ(result.compared_outputs, 4);
  EXPECT_EQ(result.num_values, 12);
  EXPECT_DOUBLE_EQ(result.rms(), std::sqrt(506.0 / 12));
  EXPECT_TRUE(result.within({0, 0, 0}));
  EXPECT_TRUE(result.ties().empty());
}

TEST_F(RecordedFile, MeasuresErrorsAgainstTheRecordedRms) {
  Computed ours;
  const SafetensorsFile& file = open(ours.recorded());
  ours.y[2] += 3.0F;
  ours.y[10] -= 4.0F;
  ours.weights[5] += 0.125F;
  const ReferenceResult result = compare_on_two_ranks(file, ours);
  const double rms = std::sqrt(506.0 / 12);
  EXPECT_DOUBLE_EQ(result.relative_err(), 4.0 / rms);
  EXPECT_DOUBLE_EQ(result.relative_rms_err(), std::sqrt(25.0 / 12) / rms);
  EXPECT_DOUBLE_EQ(result.max_weight_err, 0.125);
  const double largest = 4.0 / rms, typical = std::sqrt(25.0 / 12) / rms;
  EXPECT_TRUE(result.within({largest * 1.001, typical * 1.001, 0.125}));
  EXPECT_FALSE(result.within({largest * 0.999, typical * 1.001, 0.125}));
  EXPECT_FALSE(result.within({largest * 1.001, typical * 0.999, 0.125}));
  EXPECT_FALSE(result.within({largest * 1.001, typical * 1.001, 0.124}));
}

TEST_F(RecordedFile, ListsNearTiesAndCountsOtherChoicesAsMismatches) {
  Computed ours;
  const SafetensorsFile& file = open(ours.recorded());
  ours.experts[1] = ExpertId{3};  // token 0: 3 instead of 1, selected by almost the same
  ours.selection[3] = 0.5F;
  ours.selection[1] = 0.5F + 5e-7F;
  ours.experts[4] = ExpertId{2};  // token 2: 2 instead of 4, clearly another
  ours.selection[2 * 5 + 2] = 0.5F;
  ours.selection[2 * 5 + 4] = 0.5F + 5e-6F;
  std::swap(ours.experts[6], ours.experts[7]);  // token 3: another order
  ours.selection[3 * 5 + 1] = ours.selection[3 * 5 + 2] = 0.25F;
  ours.y[0] = 100;  // of a row with other experts: no error of its own
  const ReferenceResult result = compare_on_two_ranks(file, ours);
  EXPECT_EQ(result.compared_ids, 4);
  EXPECT_EQ(result.compared_outputs, 1);
  EXPECT_EQ(result.mismatched, 1);
  EXPECT_EQ(result.near_ties, 2);
  ASSERT_EQ(result.ties().size(), 2U);
  const NearTie& first = result.ties()[0];
  EXPECT_EQ(first.layer, 7U);
  EXPECT_EQ(first.token, 0U);
  EXPECT_EQ(first.chosen, 3);
  EXPECT_EQ(first.recorded, 1);
  EXPECT_NEAR(first.score_difference, 5e-7, 1e-7);
  EXPECT_EQ(result.ties()[1].token, 3U);
  EXPECT_EQ(result.ties()[1].score_difference, 0);
  EXPECT_EQ(result.max_abs_err, 0);
  EXPECT_FALSE(result.within(bf16_tolerance));

  const ReferenceResult blind = compare_on_two_ranks(file, ours, false);
  EXPECT_EQ(blind.near_ties, 0);
  EXPECT_EQ(blind.mismatched, 3);
}

TEST_F(RecordedFile, TakesNoChoiceForANearTieThatCannotBeOne) {
  const auto mismatched = [&](std::vector<std::int32_t> recorded_ids, ExpertId chosen, float score) {
    Computed ours;
    std::vector<TensorBytes> recorded = ours.recorded();
    recorded[2].bytes = bytes_of(recorded_ids);
    ours.experts[0] = chosen;
    ours.selection.assign(ours.selection.size(), score);
    return compare_on_two_ranks(open(recorded), ours).mismatched;
  };
  const float never = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(mismatched({3, 1, 2, 0, 4, 3, 1, 2}, ExpertId{0}, 0.5F), 0);
  EXPECT_EQ(mismatched({3, 1, 2, 0, 4, 3, 1, 2}, ExpertId{0}, never), 1);  // neither can be selected
  EXPECT_EQ(mismatched({3, 1, 2, 0, 4, 3, 1, 2}, no_expert, 0.5F), 1);
  EXPECT_EQ(mismatched({5, 1, 2, 0, 4, 3, 1, 2}, ExpertId{0}, 0.5F), 1);
  EXPECT_EQ(mismatched({-1, 1, 2, 0, 4, 3, 1, 2}, ExpertId{0}, 0.5F), 1);
  EXPECT_EQ(mismatched({1, 1, 2, 0, 4, 3, 1, 2}, ExpertId{0}, 0.5F), 1);  // an expert twice
}

TEST_F(RecordedFile, CountsWhatIsNotFinite) {
  Computed ours;
  const SafetensorsFile& file = open(ours.recorded());
  ours.y[4] = std::numeric_limits<float>::quiet_NaN();
  const ReferenceResult result = compare_on_two_ranks(file, ours);
  EXPECT_GT(result.not_finite, 0);
  EXPECT_FALSE(result.within({HUGE_VAL, HUGE_VAL, HUGE_VAL}));
}

TEST_F(RecordedFile, RefusesReferencesOfAnotherShapeOrType) {
  const std::vector<TensorBytes> good = Computed().recorded();
  for (std::size_t i = 1; i < good.size(); ++i) {
    std::vector<TensorBytes> other = good;
    std::swap(other[i].shape[0], other[i].shape[1]);
    EXPECT_NE(refusal([&] { ReferenceCheck(&open(other), {7}, hidden, 2); }).find("instead of [4, "),
              std::string::npos);
    other = good;
    other[i].dtype = "U32";
    EXPECT_NE(refusal([&] { ReferenceCheck(&open(other), {7}, hidden, 2); }).find("has dtype U32"),
              std::string::npos);
  }
}

TEST(ReferenceResult, ListsTheFirstSixteenTiesAndCountsAll) {
  const auto ties = [](std::size_t first, std::size_t count) {
    ReferenceResult result;
    for (std::size_t t = first; t < first + count; ++t) result.add_tie({0, t, 0, 1, 0});
    return result;
  };
  for (const auto& [a, b] : {std::pair<std::size_t, std::size_t>{0, 0}, {3, 4}, {20, 1}, {3, 20}, {16, 16}}) {
    ReferenceResult total;
    total.add(ties(0, a));
    total.add(ties(a, b));
    EXPECT_EQ(total.near_ties, static_cast<std::int64_t>(a + b));
    ASSERT_EQ(total.ties().size(), std::min<std::size_t>(a + b, 16));
    for (std::size_t t = 0; t < total.ties().size(); ++t) EXPECT_EQ(total.ties()[t].token, t);
  }
}

}  // namespace
}  // namespace moewe
