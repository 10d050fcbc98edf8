#pragma once

#include "comm/buffer.hpp"
#include "runtime/output_ring.hpp"
#include "runtime/path.hpp"

namespace moewe {

/// From a rank to itself: nothing travels. Where audited, outputs have checksums as elsewhere, since they lie
/// where they were written until they are summed; the rows are the caller's own.
class LocalPath : public Path {
 public:
  LocalPath(Rank self, MemoryMeter& meter) : self_(self), outputs_(meter, outputs_name) {}

  PathKind kind() const override { return PathKind::local; }
  void plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const override;
  void release_memory() override { outputs_.release(); }
  void dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) override;
  void collect(RowTable& rows) override;
  void give_back() override { in_hand_ = false; }
  std::size_t collect_returned(ReturnTable& returned) override;
  void free_tokens(std::size_t end) override { num_freed_ = end; }
  bool is_idle() override { return true; }

 private:
  static constexpr std::string_view outputs_name = "local outputs";

  static OutputRegion lay_out(const RoundSizes& sizes);
  static std::size_t output_bytes(const RoundSizes& sizes);

  Rank self_;
  RoundShape shape_;
  std::size_t num_tokens_ = 0;
  std::span<const std::byte> x_;
  OutputRing ring_;      // to be computed
  OutputPlaces places_;  // to return
  GrowingBuffer outputs_;
  std::byte* memory_ = nullptr;
  FlowChunks to_compute_;
  FlowChunks to_return_;
  bool in_hand_ = false;       // a chunk that has not been given back
  std::size_t num_freed_ = 0;  // tokens
};

}  // namespace moewe
