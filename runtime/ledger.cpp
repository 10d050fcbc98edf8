#include "runtime/ledger.hpp"

#include <algorithm>
#include <atomic>
#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {

const char* name_of(VerifyLevel level) {
  switch (level) {
    case VerifyLevel::off:
      return "off";
    case VerifyLevel::ledger:
      return "ledger";
    case VerifyLevel::audit:
      return "audit";
  }
  return "";
}

void Ledger::open(VerifyLevel level, std::span<const std::int64_t> promised) {
  expects(!is_open_, "a step's ledger is closed before the next step's is opened");
  is_open_ = true;
  level_ = level;
  promised_.assign(promised.begin(), promised.end());
  computed_.assign(promised_.size(), 0);
  num_sent_ = 0;
  num_returned_ = 0;
}

void Ledger::count_computed(std::size_t slot, std::size_t num_rows) {
  std::atomic_ref(computed_[slot]).fetch_add(static_cast<std::int64_t>(num_rows), std::memory_order_relaxed);
}

void Ledger::count_returned(std::size_t num_assigned, std::size_t num_returned) {
  num_sent_ += num_assigned;
  num_returned_ += num_returned;
}

void Ledger::close(std::size_t num_assigned) {
  is_open_ = false;
  if (level_ == VerifyLevel::off) return;
  if (computed_ != promised_) {
    const auto [computed, promised] = std::mismatch(computed_.begin(), computed_.end(), promised_.begin());
    throw Error(ErrorKind::verification,
                fmt::format("ledger: slot {} was promised {} assignments and computed {}",
                            computed - computed_.begin(), *promised, *computed));
  }
  if (num_sent_ != num_assigned || num_returned_ != num_assigned) {
    throw Error(ErrorKind::verification,
                fmt::format("ledger: of {} assignments {} were sent out and {} outputs came back",
                            num_assigned, num_sent_, num_returned_));
  }
}

}  // namespace moewe
