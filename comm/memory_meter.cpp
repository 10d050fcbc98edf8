#include "comm/memory_meter.hpp"

#include <algorithm>

namespace moewe {
namespace {

void grow(MemoryMeter::Use& use, std::size_t bytes) {
  use.bytes += bytes;
  use.peak_bytes = std::max(use.peak_bytes, use.bytes);
}

}  // namespace

void MemoryMeter::add(std::string_view name, std::size_t bytes) {
  auto found = by_name_.find(name);
  if (found == by_name_.end()) found = by_name_.emplace(std::string(name), Use{}).first;
  grow(found->second, bytes);
  grow(total_, bytes);
  if (parent_ != nullptr) parent_->add(in_parent(name), bytes);
}

void MemoryMeter::remove(std::string_view name, std::size_t bytes) {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return;
  found->second.bytes -= bytes;
  total_.bytes -= bytes;
  if (parent_ != nullptr) parent_->remove(in_parent(name), bytes);
}

}  // namespace moewe
