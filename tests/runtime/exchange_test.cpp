#include "runtime/exchange.hpp"

#include <gtest/gtest.h>

#include "comm/waiter.hpp"

namespace moewe {
namespace {

/// Brings one row of another rank, whose output is best written so.
class OneRow : public Path {
 public:
  explicit OneRow(Stores best) : best_(best) {}

  /// What would go back.
  float& output() { return output_; }

  PathKind kind() const override { return PathKind::direct; }
  void plan_memory(const RoundSizes&, MemoryPlan&) const override {}
  void release_memory() override {}
  void dispatch(const RoundShape&, const DispatchPlan&, std::span<const std::byte>) override {}
  void collect(RowTable& rows) override {
    if (is_collected_) return;
    is_collected_ = true;
    rows.add({Rank{1}, rows.keep(Rank{1}, {&assignment_, 1}), input_.data(), &PlannedAssignment::row, 1,
              reinterpret_cast<std::byte*>(&output_), nullptr, best_});
  }
  void give_back() override {}
  std::size_t collect_returned(ReturnTable&) override { return 0; }
  bool is_idle() override { return true; }

 private:
  Stores best_;
  bool is_collected_ = false;
  PlannedAssignment assignment_{0, 0, 0, 0, 0.5F};
  std::array<std::byte, sizeof(float)> input_{};
  float output_ = 0;
};

/// An exchange that has handed out a row of each path.
class Round {
 public:
  Round(std::initializer_list<Stores> best_of_paths, Combine combine, const Flow& flow) {
    std::vector<std::unique_ptr<Path>> paths;
    for (const Stores best : best_of_paths) {
      paths.push_back(std::make_unique<OneRow>(best));
      paths_.push_back(static_cast<OneRow*>(paths.back().get()));
    }
    const std::array<std::int64_t, 1> expected{static_cast<std::int64_t>(paths.size())};
    RoundShape shape;
    shape.generation = 1;
    shape.format = {1, Dtype::f32};
    shape.combine = combine;
    shape.flow = flow;
    shape.expected_per_slot = expected;
    shape.num_expected = paths.size();
    SlotChoice choice;
    plan_.build(Routing{0, 1, {}, {}, {}}, contiguous_placement(1, 1), choice);  // no token of this rank's
    MemoryPlan planned;
    exchange_.emplace(std::move(paths), Waiter(std::chrono::seconds(10)), meter_);
    exchange_->plan_memory(sizes_of(shape, plan_, Rank{0}), planned);
    exchange_->dispatch(shape, plan_, {});
    rows_ = exchange_->next();
    EXPECT_EQ(planned.total(), meter_.bytes());
  }

  /// How experts are told to write the rows, in the order of the paths.
  std::vector<Stores> told() const {
    std::vector<Stores> stores;
    for (const Row& row : rows_->rows(0)) stores.push_back(row.stores);
    return stores;
  }
  bool computes_in_place() const {
    return rows_->rows(0)[0].output == reinterpret_cast<const std::byte*>(&paths_[0]->output());
  }

  /// What goes back if every expert's output is 3.
  float given_back() {
    for (const Row& row : rows_->rows(0)) *reinterpret_cast<float*>(row.output) = 3.0F;
    exchange_->give_back(1);
    return paths_.back()->output();
  }

 private:
  MemoryMeter meter_;
  DispatchPlan plan_{meter_};
  std::vector<OneRow*> paths_;
  std::optional<Exchange> exchange_;
  const RowTable* rows_ = nullptr;
};

TEST(Exchange, TellsExpertsToWriteEachOutputAsItsPathSaysIsBest) {
  const Round round({Stores::cached, Stores::streaming}, Combine::reproducible, {});
  EXPECT_EQ(round.told(), (std::vector{Stores::cached, Stores::streaming}));
}

TEST(Exchange, KeepsOutputsThatAreSummedAtOnceInTheCache) {
  EXPECT_EQ(Round({Stores::streaming}, Combine::fast, {}).told(), std::vector{Stores::cached});
}

TEST(Exchange, ComputesOutputsApartThatAreSummedChunkByChunk) {
  const Flow ring{.chunk_tokens = 1, .ring_chunks = 2};
  for (const Stores best : {Stores::cached, Stores::streaming}) {
    Round apart({best, best}, Combine::fast, ring);
    EXPECT_FALSE(apart.computes_in_place());
    EXPECT_EQ(apart.told(), std::vector(2, Stores::cached));
    EXPECT_EQ(apart.given_back(), 1.5F);
  }
  Round all_at_once({Stores::streaming}, Combine::fast, {.chunk_tokens = 1});
  EXPECT_TRUE(all_at_once.computes_in_place());
  EXPECT_EQ(all_at_once.given_back(), 1.5F);
  Round not_summed({Stores::streaming}, Combine::reproducible, ring);
  EXPECT_TRUE(not_summed.computes_in_place());
  EXPECT_EQ(not_summed.given_back(), 3.0F);
}

}  // namespace
}  // namespace moewe
