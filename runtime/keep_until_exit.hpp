#pragma once

#include <memory>
#include <mutex>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace moewe {

/// Keeps these, which are moved from, until the process ends: what a device may still use, where it does not
/// come to its end. To free a device's memory would wait for that.
template <typename... Values>
void keep_until_exit(Values&&... values) {
  static_assert((std::is_rvalue_reference_v<Values&&> && ...));
  static std::mutex mutex;
  static auto* const kept = new std::vector<std::shared_ptr<void>>;  // never freed
  auto owned = std::make_shared<std::tuple<std::decay_t<Values>...>>(std::forward<Values>(values)...);
  const std::lock_guard lock(mutex);
  kept->push_back(std::move(owned));
}

}  // namespace moewe
