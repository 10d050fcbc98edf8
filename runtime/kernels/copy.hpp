#pragma once

#include <cstddef>

namespace moewe {

/// How a row is written that will be read later, often by another rank.
enum class Stores {
  cached,     ///< through the cache: best where the reader comes soon and shares it
  streaming,  ///< past the cache: saves reading each line before it is overwritten, best for much memory
};

/// Regions do not overlap. Streaming ends with finish_stores.
void copy_row(const std::byte* from, std::byte* to, std::size_t bytes, Stores stores);

/// After a thread's last row, before it lets others know: orders its streaming stores before whatever it
/// stores next.
void finish_stores(Stores stores);

}  // namespace moewe
