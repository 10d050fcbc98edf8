#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "comm/queue.hpp"

namespace moewe {

class EmulatedQueue;

/// Work of emulated queues that is recorded, in the order in which it was enqueued, and what of it is behind
/// what: forks are found, and that each was joined. Of one thread.
class Recording {
 public:
  /// Of each queue so many pieces of work.
  using Extent = std::map<const EmulatedQueue*, std::size_t>;

  /// A place in it, as an event has it.
  struct Point {
    std::weak_ptr<Recording> recording;
    Extent behind;
  };

  /// That queue's next work is behind all of its own, and of what the point is behind.
  void join(EmulatedQueue& queue, const Extent& behind);

  void add(const EmulatedQueue& queue, std::function<void()> work);
  const Extent& extent_of(const EmulatedQueue& queue) const { return extents_.at(&queue); }
  bool has_ended() const { return has_ended_; }

  /// Its queues do their work again from now on.
  void end();

  /// What was recorded. Throws Error(internal) unless all of it is before the next work of `origin`.
  std::vector<std::function<void()>> take(const EmulatedQueue& origin);

 private:
  std::vector<std::function<void()>> work_;
  std::map<const EmulatedQueue*, Extent> extents_;
  std::vector<EmulatedQueue*> queues_;
  bool has_ended_ = false;
};

class EmulatedGraph : public Graph {
 public:
  using Work = std::vector<std::function<void()>>;

  explicit EmulatedGraph(Work work) : work_(std::make_shared<const Work>(std::move(work))) {}
  std::size_t num_nodes() const override { return work_->size(); }

  /// Shared with launches that are under way.
  const std::shared_ptr<const Work>& work() const { return work_; }

 private:
  std::shared_ptr<const Work> work_;
};

}  // namespace moewe
