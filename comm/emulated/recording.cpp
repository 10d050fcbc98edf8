#include "comm/emulated/recording.hpp"

#include <algorithm>

#include "comm/emulated/emulated_queue.hpp"
#include "comm/error.hpp"

namespace moewe {

void Recording::join(EmulatedQueue& queue, const Extent& behind) {
  const auto [place, is_new] = extents_.try_emplace(&queue);
  if (is_new) queues_.push_back(&queue);
  for (const auto& [other, count] : behind) {
    std::size_t& known = place->second[other];
    known = std::max(known, count);
  }
}

void Recording::add(const EmulatedQueue& queue, std::function<void()> work) {
  work_.push_back(std::move(work));
  ++extents_.at(&queue)[&queue];
}

void Recording::end() {
  has_ended_ = true;
  for (EmulatedQueue* const queue : queues_) queue->stop_recording();
}

std::vector<std::function<void()>> Recording::take(const EmulatedQueue& origin) {
  Extent& seen = extents_.at(&origin);
  for (const auto& [queue, extent] : extents_) {
    if (extent.count(queue) == 0 || seen[queue] >= extent.at(queue)) continue;
    throw Error(ErrorKind::internal, "a queue took part in recording a graph, but was not joined at its end");
  }
  return std::move(work_);
}

}  // namespace moewe
