#include "launch/progress.hpp"

#include <fmt/format.h>

#include "launch/console.hpp"

namespace moewe {
namespace {

constexpr std::chrono::milliseconds terminal_interval{100};
constexpr std::chrono::seconds log_interval{10};

}  // namespace

Progress::Progress(std::size_t num_done, std::size_t num_steps, std::size_t tokens_per_step, bool on_terminal)
    : first_(num_done), num_steps_(num_steps), tokens_per_step_(tokens_per_step), on_terminal_(on_terminal) {}

void Progress::step_done(double step_seconds, double imbalance) {
  ++num_done_;
  seconds_ += step_seconds;
  const bool is_last = num_done_ == num_steps_;
  const Clock::time_point now = Clock::now();
  const bool is_due =
      on_terminal_ ? now - last_shown_ >= terminal_interval : now - last_shown_ >= log_interval;
  if (!is_due && !is_last) return;
  last_shown_ = now;
  const double rate = static_cast<double>((num_done_ - first_) * tokens_per_step_) / seconds_;
  print_text(fmt::format("{}step {} of {}, {:.0f} tokens/s, imbalance {:.2f}{}", on_terminal_ ? "\r" : "",
                         num_done_, num_steps_, rate, imbalance, on_terminal_ && !is_last ? "\x1b[K" : "\n"));
}

}  // namespace moewe
