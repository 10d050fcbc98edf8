#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "comm/memory_meter.hpp"
#include "runtime/expert_mlp.hpp"
#include "runtime/slot_table.hpp"

namespace moewe {

/// How a pool treats its slots.
struct SlotPoolOptions {
  /// Whether what is loaded into slots gets its checksum, by which it can be told after it has travelled.
  bool takes_checksums = false;

  /// Whether a slot that comes back is filled with NaN: whoever still computes with it is found out.
  bool spoils_free_slots = false;
};

/// A rank's memory for the experts' weights of one layer: so many slots, allocated once. A slot is free, or
/// being filled by whoever took it, or sealed: then it is shared, nobody can write it any more, and it comes
/// back when the last of those who share it lets it go. Used by one thread of a rank; slots may outlive the
/// pool, but not the meter.
class SlotPool {
 private:
  struct Shelf;
  struct Return {
    std::shared_ptr<Shelf> shelf;
    void operator()(ExpertWeights* slot) const noexcept;
  };

 public:
  /// A slot that is being filled. Comes back when it is destroyed without having been sealed.
  using OpenSlot = std::unique_ptr<ExpertWeights, Return>;

  /// Local. Throws Error(out_of_memory).
  SlotPool(const ExpertMlp& mlp, MemoryMeter& meter, std::size_t num_slots, const SlotPoolOptions& options);

  /// Null where no slot is free.
  OpenSlot take();

  /// Nobody writes the slot from now on.
  static std::shared_ptr<const ExpertWeights> seal(OpenSlot slot) { return slot; }

  std::size_t num_slots() const;
  std::size_t num_free() const;
  std::size_t slot_bytes() const { return slot_bytes_; }
  bool takes_checksums() const;

 private:
  std::size_t slot_bytes_;
  std::shared_ptr<Shelf> shelf_;
};

}  // namespace moewe
