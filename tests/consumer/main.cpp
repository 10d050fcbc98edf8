// One MoE layer with weights of its own on two thread-ranks: expert e multiplies silu(x) * x by e + 1.

#include <cmath>
#include <cstdio>

#include "comm/loopback/run_ranks.hpp"
#include "runtime/moe_layer.hpp"

namespace {

constexpr std::size_t hidden = 4;

void set_identity(std::span<float> matrix, float scale) {
  for (std::size_t i = 0; i < matrix.size(); ++i) matrix[i] = i % (hidden + 1) == 0 ? scale : 0.0F;
}

class ScalingExperts : public moewe::WeightSource {
 public:
  void read_router(std::span<float> weights) const override {
    for (float& weight : weights) weight = 0.0F;
  }
  void read_expert(moewe::ExpertId expert, const moewe::ExpertMatrices& matrices) const override {
    set_identity(matrices.gate, 1.0F);
    set_identity(matrices.up, 1.0F);
    set_identity(matrices.down, static_cast<float>(moewe::number(expert) + 1));
  }
};

}  // namespace

int main() {
  int num_wrong = 0;
  moewe::run_ranks(2, std::chrono::seconds(20), [&](moewe::Communicator& communicator) {
    moewe::Engine engine(communicator, moewe::loopback_backend(), {});
    const moewe::LayerSpec spec{{hidden, hidden}, 3, {1, false}};
    moewe::MoeLayer layer(engine, spec, moewe::contiguous_placement(3, communicator.size()),
                          ScalingExperts{});
    const std::vector<float> x(3 * hidden, 1.0F);
    std::vector<float> y(x.size());
    const moewe::Routing choice{
        3, 1, {moewe::ExpertId{2}, moewe::ExpertId{0}, moewe::ExpertId{1}}, {1, 1, 0.5F}, {}};
    layer.forward(x, choice, y);
    const float silu_of_1 = 1.0F / (1.0F + std::exp(-1.0F));
    const float expected[] = {3 * silu_of_1, silu_of_1, silu_of_1};
    for (std::size_t i = 0; i < y.size(); ++i) {
      if (communicator.rank() == moewe::Rank{0} && std::abs(y[i] - expected[i / hidden]) > 1e-6F) ++num_wrong;
    }
  });
  std::printf("%d values are wrong\n", num_wrong);
  return num_wrong == 0 ? 0 : 1;
}
