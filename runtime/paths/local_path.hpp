#pragma once

#include "comm/buffer.hpp"
#include "runtime/path.hpp"

namespace moewe {

/// From a rank to itself: nothing travels.
class LocalPath : public Path {
 public:
  LocalPath(Rank self, MemoryMeter& meter) : self_(self), meter_(meter) {}

  PathKind kind() const override { return PathKind::local; }
  void dispatch(const StepShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) override;
  void collect(RowTable& rows) override;
  void give_back() override;
  void collect_returned(ReturnTable& returned) override;
  bool is_idle() override { return true; }

 private:
  enum class Stage { dispatched, collected, given_back, returned };

  Rank self_;
  MemoryMeter& meter_;
  Stage stage_ = Stage::returned;
  StepShape shape_;
  Destination here_;
  std::span<const std::byte> x_;
  Buffer outputs_;
};

}  // namespace moewe
