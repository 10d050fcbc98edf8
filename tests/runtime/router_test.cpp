#include "runtime/router.hpp"

#include <array>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr std::array<float, 8> logits{1.0F, -0.5F, 0.25F, 2.0F, -1.0F, 0.5F, 0.0F, 1.5F};

/// Routes tokens whose logits are the rows of `x`: the router's weights are the identity.
Routing route(const std::vector<float>& x, RouterSpec spec) {
  const std::size_t n = logits.size();
  std::vector<float> identity(n * n, 0.0F);
  for (std::size_t i = 0; i < n; ++i) identity[i * n + i] = 1.0F;
  MemoryMeter meter;
  const Router router(spec, std::make_shared<Matmul>(n, n), meter, identity);
  Routing routing;
  router.route(x, x.size() / n, routing, 2);
  return routing;
}

// Expected values were derived by hand from the softmax formula for these logits.
TEST(Router, SoftmaxTopThree) {
  const std::vector<float> x(logits.begin(), logits.end());
  const Routing raw = route(x, {3, false});
  EXPECT_EQ(raw.experts, (std::vector<ExpertId>{ExpertId{3}, ExpertId{7}, ExpertId{0}}));
  const std::array<float, 3> expected{0.3790001F, 0.2298752F, 0.1394264F};
  for (std::size_t k = 0; k < 3; ++k) EXPECT_NEAR(raw.weights[k], expected[k], 1e-7);

  const Routing renormalised = route(x, {3, true});
  EXPECT_EQ(renormalised.experts, raw.experts);
  const std::array<float, 3> expected_renormalised{0.5064804F, 0.3071959F, 0.1863237F};
  for (std::size_t k = 0; k < 3; ++k) EXPECT_NEAR(renormalised.weights[k], expected_renormalised[k], 1e-7);
}

TEST(Router, KeepsAllScores) {
  const Routing routing = route({logits.begin(), logits.end()}, {1, true});
  ASSERT_EQ(routing.scores.size(), logits.size());
  float sum = 0;
  for (const float score : routing.scores) sum += score;
  EXPECT_NEAR(sum, 1.0F, 1e-6);
  EXPECT_EQ(routing.weights[0], 1.0F);
}

TEST(Router, ATokensChoiceDependsOnThatTokenAlone) {
  std::vector<float> many;
  for (int t = 0; t < 100; ++t) {
    for (const float logit : logits)
      many.push_back(logit * static_cast<float>(t % 7) + 0.01F * static_cast<float>(t));
  }
  const Routing together = route(many, {2, true});
  for (std::size_t t = 0; t < 100; ++t) {
    const auto first = many.begin() + static_cast<std::ptrdiff_t>(t * logits.size());
    const Routing alone = route({first, first + logits.size()}, {2, true});
    for (std::size_t k = 0; k < 2; ++k) {
      EXPECT_EQ(alone.experts[k], together.experts[2 * t + k]);
      EXPECT_EQ(alone.weights[k], together.weights[2 * t + k]);
    }
  }
}

TEST(Router, NamesTheTokenWhoseLogitIsNotFinite) {
  std::vector<float> x(3 * logits.size(), 0.5F);
  x[2 * logits.size()] = std::numeric_limits<float>::infinity();
  try {
    route(x, {2, true});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const InvalidInput& error) {
    EXPECT_NE(std::string(error.what()).find("token 2"), std::string::npos) << error.what();
  }
}

TEST(ChooseTopK, TakesEqualScoresByLowerId) {
  const std::array<float, 6> scores{0.1F, 0.3F, 0.3F, 0.1F, 0.3F, 0.2F};
  std::array<ExpertId, 5> experts{};
  std::array<float, 5> weights{};
  choose_top_k(scores, experts, weights);
  EXPECT_EQ(experts,
            (std::array<ExpertId, 5>{ExpertId{1}, ExpertId{2}, ExpertId{4}, ExpertId{5}, ExpertId{0}}));
  EXPECT_EQ(weights, (std::array<float, 5>{0.3F, 0.3F, 0.3F, 0.2F, 0.1F}));
}

}  // namespace
}  // namespace moewe
