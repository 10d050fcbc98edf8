#pragma once

#include <functional>

namespace moewe {

/// Called between the pieces of a computation, on the thread that began it, so that what is under way moves
/// on meanwhile. Blocks no longer than that takes; what it throws ends the computation. Empty: nothing is
/// called.
using Meanwhile = std::function<void()>;

}  // namespace moewe
