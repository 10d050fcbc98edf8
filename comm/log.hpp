#pragma once

#include <functional>
#include <string_view>

namespace moewe {

enum class LogLevel { info, warning };

using LogSink = std::function<void(LogLevel, std::string_view)>;

/// Replaces where the library's messages go; the default writes lines to standard error.
/// Process-wide; call it before ranks start. An empty sink silences the library.
void set_log_sink(LogSink sink);

void log(LogLevel level, std::string_view message);

}  // namespace moewe
