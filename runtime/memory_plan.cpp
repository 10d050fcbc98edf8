#include "runtime/memory_plan.hpp"

#include <algorithm>

namespace moewe {

void MemoryPlan::cover(const MemoryPlan& other) {
  for (const Entry& theirs : other.entries_) {
    std::size_t& mine = entry(theirs.name).bytes;
    mine = std::max(mine, theirs.bytes);
  }
}

std::size_t MemoryPlan::total() const {
  std::size_t sum = 0;
  for (const Entry& one : entries_) sum = saturated_sum(sum, one.bytes);
  return sum;
}

std::map<std::string, std::size_t> MemoryPlan::by_name() const {
  std::map<std::string, std::size_t> all;
  for (const Entry& one : entries_) all.emplace(one.name, one.bytes);
  return all;
}

MemoryPlan::Entry& MemoryPlan::entry(std::string_view name) {
  constexpr std::size_t usual_number = 8;
  for (Entry& known : entries_) {
    if (known.name == name) return known;
  }
  if (entries_.empty()) entries_.reserve(usual_number);
  return entries_.emplace_back(Entry{std::string(name), 0});
}

}  // namespace moewe
