#pragma once

#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.hpp"

namespace moewe {

/// Collective. Rank 0's text, on every rank; that of the others does not count.
std::string text_of_rank_0(Communicator& communicator, std::string mine);

/// Collective. Throws alike on all ranks when a rank's text is not rank 0's, which `describe` makes a
/// sentence of.
void require_same_text(Communicator& communicator, const std::string& mine,
                       const std::function<std::string(const std::string& of_rank_0)>& describe);

/// Collective. The same for settings, each as it would be typed; all ranks have equally many.
void require_same_options(Communicator& communicator, const std::vector<std::string>& settings);

}  // namespace moewe
