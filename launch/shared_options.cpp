#include "launch/shared_options.hpp"

#include <fmt/format.h>

#include "comm/together.hpp"

namespace moewe {

std::string text_of_rank_0(Communicator& communicator, std::string mine) {
  auto length = static_cast<std::int64_t>(mine.size());
  communicator.broadcast(std::as_writable_bytes(std::span(&length, 1)), Rank{0});
  mine.resize(static_cast<std::size_t>(length));
  communicator.broadcast(std::as_writable_bytes(std::span(mine)), Rank{0});
  return mine;
}

void require_same_text(Communicator& communicator, const std::string& mine,
                       const std::function<std::string(const std::string& of_rank_0)>& describe) {
  const std::string of_rank_0 = text_of_rank_0(communicator, mine);
  together(communicator, [&] {
    if (mine != of_rank_0) throw InvalidInput(describe(of_rank_0));
  });
}

void require_same_options(Communicator& communicator, const std::vector<std::string>& settings) {
  for (const std::string& setting : settings) {
    require_same_text(communicator, setting, [&](const std::string& of_rank_0) {
      return fmt::format("{} here, but {} on rank 0; options other than paths and --threads must agree",
                         setting, of_rank_0);
    });
  }
}

}  // namespace moewe
