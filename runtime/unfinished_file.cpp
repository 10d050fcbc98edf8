#include "runtime/unfinished_file.hpp"

#include <array>
#include <atomic>
#include <climits>
#include <cstdio>
#include <cstring>
#include <string>
#include <unistd.h>
#include <utility>

namespace moewe {
namespace {

constexpr std::size_t max_files = 16;

/// A name that a signal's handler can read at any time.
struct Slot {
  std::atomic<bool> is_taken{false};
  std::atomic<bool> is_named{false};
  std::array<char, PATH_MAX> name{};
};
static_assert(std::atomic<bool>::is_always_lock_free);

constinit std::array<Slot, max_files> slots;

/// max_files where there is no room for the name.
std::size_t take_slot(const std::string& name) {
  if (name.size() >= PATH_MAX) return max_files;
  for (std::size_t i = 0; i < max_files; ++i) {
    Slot& slot = slots[i];
    if (slot.is_taken.exchange(true)) continue;
    std::memcpy(slot.name.data(), name.c_str(), name.size() + 1);
    slot.is_named.store(true);
    return i;
  }
  return max_files;
}

void give_back(std::size_t i) {
  if (i == max_files) return;
  slots[i].is_named.store(false);
  slots[i].is_taken.store(false);
}

}  // namespace

UnfinishedFile::UnfinishedFile(std::filesystem::path path)
    : path_(std::move(path)), slot_(take_slot(path_.string())) {}

UnfinishedFile::~UnfinishedFile() {
  if (!path_.empty()) unlink(path_.c_str());
  give_back(slot_);
}

bool UnfinishedFile::finish(const std::filesystem::path& name) {
  if (std::rename(path_.c_str(), name.c_str()) != 0) return false;
  path_.clear();
  return true;
}

void remove_unfinished_files() noexcept {
  for (const Slot& slot : slots) {
    if (slot.is_named.load()) unlink(slot.name.data());
  }
}

}  // namespace moewe
