#include "launch/kept_notice.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <climits>
#include <fmt/format.h>
#include <string_view>
#include <unistd.h>

#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

/// What a signal's handler can read at any time.
struct Notice {
  std::atomic<std::size_t> num_kept{0};  // 0 for nothing to say; beside it the rest has been written
  std::array<char, PATH_MAX + 256> rest{};
  std::size_t rest_bytes = 0;
};
static_assert(std::atomic<std::size_t>::is_always_lock_free);

constinit Notice notice;

}  // namespace

void note_kept(const std::string& path, std::size_t num_kept, std::size_t num_steps) {
  if (notice.num_kept.load() == 0) {
    const std::string rest =
        fmt::format(" of {} steps are kept in {}; the same command with --resume goes on from there\n",
                    num_steps, printable(path));
    notice.rest_bytes = rest.copy(notice.rest.data(), notice.rest.size());
  }
  notice.num_kept.store(num_kept);
}

void forget_kept() noexcept { notice.num_kept.store(0); }

void tell_kept() noexcept {
  const std::size_t num_kept = notice.num_kept.exchange(0);
  if (num_kept == 0) return;
  constexpr std::string_view name = "moewe: ";
  constexpr std::size_t most_digits = 20;
  std::array<char, name.size() + most_digits + std::tuple_size_v<decltype(notice.rest)>> line{};
  char* end = std::copy(name.begin(), name.end(), line.begin());
  end = std::to_chars(end, end + most_digits, num_kept).ptr;
  end = std::copy_n(notice.rest.begin(), notice.rest_bytes, end);
  const ssize_t told = write(STDERR_FILENO, line.data(), static_cast<std::size_t>(end - line.data()));
  static_cast<void>(told);  // there is nobody else to tell
}

}  // namespace moewe
