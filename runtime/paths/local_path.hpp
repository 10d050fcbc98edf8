#pragma once

#include "comm/buffer.hpp"
#include "runtime/path.hpp"

namespace moewe {

/// From a rank to itself: nothing travels.
class LocalPath : public Path {
 public:
  LocalPath(Rank self, MemoryMeter& meter) : self_(self), outputs_(meter, outputs_name) {}

  PathKind kind() const override { return PathKind::local; }
  void plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const override {
    memory.add(outputs_name, sizes.num_assigned_here * sizes.row_bytes);
  }
  void release_memory() override { outputs_.release(); }
  void dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) override;
  void collect(RowTable& rows) override;
  void give_back() override;
  void collect_returned(ReturnTable& returned) override;
  bool is_idle() override { return true; }

 private:
  static constexpr std::string_view outputs_name = "local outputs";

  enum class Stage { dispatched, collected, given_back, returned };

  Rank self_;
  Stage stage_ = Stage::returned;
  RoundShape shape_;
  Destination here_;
  std::span<const std::byte> x_;
  GrowingBuffer outputs_;
  std::byte* first_output_ = nullptr;
};

}  // namespace moewe
