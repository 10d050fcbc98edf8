#pragma once

namespace moewe::bench {

/// Whether a launcher started this process as one of several ranks, and as which one of them; before MPI
/// starts.
bool started_by_launcher();
bool is_first_of_launched();

}  // namespace moewe::bench
