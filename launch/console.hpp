#pragma once

#include <string>

namespace moewe {

/// Writes to standard output, all of it. Throws InvalidInput where that cannot be.
void print_text(const std::string& text);

/// Writes one line of bounded length to standard error, after what standard output has still to write.
/// Control characters stand in it as \x1b. Nothing is thrown where it cannot be written.
void print_error(const std::string& what);

/// Whether a person watches what this process prints. Looks past the terminal that mpirun puts between its
/// ranks and its own output.
bool is_watched();

}  // namespace moewe
