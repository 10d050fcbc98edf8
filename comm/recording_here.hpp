#pragma once

#include "comm/error.hpp"

namespace moewe {

/// While it lives, the calling thread records a graph. One at a time: throws Error(internal) for another.
class RecordingHere {
 public:
  RecordingHere() {
    forbid("recording another graph");
    is_under_way = true;
  }
  ~RecordingHere() { is_under_way = false; }
  RecordingHere(const RecordingHere&) = delete;
  RecordingHere& operator=(const RecordingHere&) = delete;

  /// Throws Error(internal) where the calling thread records: `what` is done, and cannot be recorded.
  static void forbid(const char* what) {
    if (!is_under_way) return;
    throw Error(ErrorKind::internal,
                std::string(what) +
                    " is not possible while the thread records a graph: nothing of it runs "
                    "before it is launched");
  }

 private:
  inline static thread_local bool is_under_way = false;
};

}  // namespace moewe
