#include <iostream>

#include "comm/log.hpp"

// Where the library's own log and what it is built on are not linked.
namespace moewe {

void log(LogLevel, std::string_view message) { std::cerr << message << '\n'; }

}  // namespace moewe
