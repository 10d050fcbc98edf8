#include "runtime/exchange.hpp"

#include <gtest/gtest.h>

#include "comm/waiter.hpp"

namespace moewe {
namespace {

/// Brings one row of another rank, and has seen how outputs are best written.
class OneRow : public Path {
 public:
  explicit OneRow(Stores best) : best_(best) {}

  PathKind kind() const override { return PathKind::direct; }
  void plan_memory(const RoundSizes&, MemoryPlan&) const override {}
  void release_memory() override {}
  void dispatch(const RoundShape&, const DispatchPlan&, std::span<const std::byte>) override {}
  void collect(RowTable& rows) override {
    if (is_collected_) return;
    is_collected_ = true;
    rows.add({Rank{1}, rows.keep(Rank{1}, {&assignment_, 1}), input_.data(), &PlannedAssignment::row, 1,
              output_.data()});
  }
  void give_back() override {}
  std::size_t collect_returned(ReturnTable&) override { return 0; }
  Stores best_stores() const override { return best_; }
  bool is_idle() override { return true; }

 private:
  Stores best_;
  bool is_collected_ = false;
  PlannedAssignment assignment_{0, 0, 0, 0, 1.0F};
  std::array<std::byte, sizeof(float)> input_{};
  std::array<std::byte, sizeof(float)> output_{};
};

/// How experts are told to write where the paths have seen this.
Stores told(std::initializer_list<Stores> best_of_paths, Combine combine, const Flow& flow) {
  MemoryMeter meter;
  std::vector<std::unique_ptr<Path>> paths;
  for (const Stores best : best_of_paths) paths.push_back(std::make_unique<OneRow>(best));
  const std::size_t num_expected = paths.size();
  Exchange exchange(std::move(paths), Waiter(std::chrono::seconds(10)), meter);
  const DispatchPlan plan(meter);
  const std::array<std::int64_t, 1> expected{static_cast<std::int64_t>(num_expected)};
  RoundShape shape;
  shape.generation = 1;
  shape.format = {1, Dtype::f32};
  shape.combine = combine;
  shape.flow = flow;
  shape.expected_per_slot = expected;
  shape.num_expected = num_expected;
  exchange.dispatch(shape, plan, {});
  return exchange.next()->output_stores();
}

TEST(Exchange, TellsExpertsToWriteAsAnyPathHasSeenItToBeBest) {
  EXPECT_EQ(told({Stores::cached, Stores::cached}, Combine::reproducible, {}), Stores::cached);
  EXPECT_EQ(told({Stores::cached, Stores::streaming}, Combine::reproducible, {}), Stores::streaming);
}

TEST(Exchange, KeepsOutputsThatAreSummedAtOnceInTheCache) {
  EXPECT_EQ(told({Stores::streaming}, Combine::fast, {}), Stores::cached);
}

TEST(Exchange, WritesAsAFlowSays) {
  EXPECT_EQ(told({Stores::streaming}, Combine::reproducible, {.output_stores = Stores::cached}),
            Stores::cached);
  EXPECT_EQ(told({Stores::cached}, Combine::reproducible, {.output_stores = Stores::streaming}),
            Stores::streaming);
}

}  // namespace
}  // namespace moewe
