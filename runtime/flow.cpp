#include "runtime/flow.hpp"

namespace moewe {

std::size_t FlowChunks::num_before(std::size_t num_tokens) const {
  if (!is_done()) return chunk_.number;
  return chunk_tokens_ == 0 ? 1 : (num_tokens + chunk_tokens_ - 1) / chunk_tokens_;
}

void FlowChunks::cut() {
  const auto rest = assignments_.subspan(chunk_.first_assignment);
  if (rest.empty() || chunk_tokens_ == 0) {
    chunk_ = {0, chunk_.first_assignment, rest};
    return;
  }
  chunk_.number = rest.front().token / chunk_tokens_;
  std::size_t length = 1;
  while (length < rest.size() && rest[length].token / chunk_tokens_ == chunk_.number) ++length;
  chunk_.assignments = rest.first(length);
}

}  // namespace moewe
