#include "runtime/slot_pool.hpp"

#include <cstring>
#include <utility>

#include "runtime/layer_memory.hpp"

namespace moewe {

/// Where the slots are kept. Shared by all slots in use, which find their way back.
struct SlotPool::Shelf {
  SlotPoolOptions options;
  std::vector<std::unique_ptr<ExpertWeights>> all;
  std::vector<ExpertWeights*> free;  // has room for all of them: giving back does not allocate
};

void SlotPool::Return::operator()(ExpertWeights* slot) const noexcept {
  constexpr int nan_in_every_type = 0xFF;
  slot->checksum = 0;
  if (shelf->options.spoils_free_slots) {
    for (const std::span<std::byte> bytes : slot->bytes())
      std::memset(bytes.data(), nan_in_every_type, bytes.size());
  }
  shelf->free.push_back(slot);
}

SlotPool::SlotPool(const ExpertMlp& mlp, MemoryMeter& meter, std::size_t num_slots,
                   const SlotPoolOptions& options)
    : slot_bytes_(mlp.weight_bytes()), shelf_(std::make_shared<Shelf>()) {
  shelf_->options = options;
  shelf_->free.reserve(num_slots);
  for (std::size_t i = 0; i < num_slots; ++i) {
    shelf_->all.push_back(std::make_unique<ExpertWeights>(mlp.allocate(meter, expert_weights_name)));
  }
  // The first slot that is taken is the first that was allocated.
  for (std::size_t i = num_slots; i-- > 0;) shelf_->free.push_back(shelf_->all[i].get());
}

SlotPool::OpenSlot SlotPool::take() {
  if (shelf_->free.empty()) return OpenSlot(nullptr, Return{shelf_});
  ExpertWeights* const slot = shelf_->free.back();
  shelf_->free.pop_back();
  return OpenSlot(slot, Return{shelf_});
}

std::size_t SlotPool::num_slots() const { return shelf_->all.size(); }
std::size_t SlotPool::num_free() const { return shelf_->free.size(); }
bool SlotPool::takes_checksums() const { return shelf_->options.takes_checksums; }

}  // namespace moewe
