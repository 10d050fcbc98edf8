#pragma once

#include <span>
#include <string_view>

#include "runtime/atomic_file.hpp"

namespace moewe {

/// Ends a file with `text`, after which it is there. Throws as AtomicFile does.
inline void commit_text(AtomicFile& file, std::string_view text) {
  file.append(std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace moewe
