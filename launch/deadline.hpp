#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace moewe {

/// For what waits on its own and looks at no clock: calls `expire`, on a thread of its own, unless it is
/// destroyed within `timeout`. Destruction waits for a call that has begun.
class Deadline {
 public:
  Deadline(std::chrono::duration<double> timeout, std::function<void()> expire);

 private:
  std::jthread thread_;
};

}  // namespace moewe
