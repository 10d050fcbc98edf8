#include "comm/log.hpp"

#include <memory>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <utility>

namespace moewe {
namespace {

void log_to_standard_error(LogLevel level, std::string_view message) {
  static const auto logger =
      std::make_shared<spdlog::logger>("moewe", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->log(level == LogLevel::info ? spdlog::level::info : spdlog::level::warn, "{}", message);
}

LogSink& sink() {
  static LogSink current = log_to_standard_error;
  return current;
}

}  // namespace

void set_log_sink(LogSink replacement) { sink() = std::move(replacement); }

void log(LogLevel level, std::string_view message) {
  if (sink()) sink()(level, message);
}

}  // namespace moewe
