#pragma once

#include <cstddef>
#include <string>

namespace moewe {

// What is to be said where a run ends before it is done: how much of it is kept, and where.

/// Of this process's run, from now on. By one thread; the path stays the same from step to step.
void note_kept(const std::string& path, std::size_t num_kept, std::size_t num_steps);

/// Nothing is to be said any more.
void forget_kept() noexcept;

/// Says it on standard error, once, if there is anything. Async-signal-safe.
void tell_kept() noexcept;

}  // namespace moewe
