#include "tests/support/faulty_peer_memory.hpp"

#include <algorithm>
#include <chrono>
#include <span>
#include <thread>

namespace moewe::test {

void FaultyPeerMemory::grow(std::size_t bytes) {
  memory_->grow(bytes);
  length_ = std::max(length_, bytes);
  last_.resize(length_);
}

FaultyPeerMemory::Offsets FaultyPeerMemory::find_written() const {
  Offsets written;
  const std::byte* const now = memory_->of(self_);
  for (std::size_t i = 0; i < length_; ++i) {
    if (now[i] != last_[i] && !injector_.is_unsealed(self_, now + i)) written.push_back(i);
  }
  return written;
}

/// Whether outputs are published by it: see DirectPath and two_level::Board.
bool FaultyPeerMemory::gives_back(std::size_t flag) const {
  constexpr std::size_t first_of_direct_path = 2;
  return flag >= (carrier_ == Carrier::direct_memory ? first_of_direct_path : num_flags() / 2);
}

void FaultyPeerMemory::publish(std::size_t flag, std::uint64_t generation) {
  const Place place{carrier_, self_, self_, static_cast<int>(flag), generation};
  if (gives_back(flag)) injector_.seal(self_);
  const bool is_aimed_at = injector_.is_listing() || injector_.is_on_target(place);
  const Offsets written = is_aimed_at ? find_written() : Offsets{};
  injector_.record({place, written.size(), false});
  const Fault fault = injector_.fault();
  const bool is_possible = !written.empty() || fault == Fault::drop || fault == Fault::delay;
  const bool is_struck = is_possible && injector_.strikes(place);
  if (is_struck) strike(place, written);
  const bool is_lost = lost_ && lost_->shares_channel(place) && step_lost_ == injector_.step(self_);
  if (!is_lost) memory_->publish(flag, generation);
  if (is_struck && fault == Fault::reorder) {
    std::this_thread::sleep_for(std::chrono::microseconds(300));  // in which peers may see it
    const Bytes& meant = injector_.own_strike().bytes;
    for (const std::size_t offset : written) memory_->own()[offset] = meant[offset];
  }
  remember();
  injector_.board().happened();
}

/// What is not sealed yet counts as not written.
void FaultyPeerMemory::remember() {
  const std::byte* const now = memory_->of(self_);
  std::vector<std::pair<std::size_t, Bytes>> unsealed;
  for (const std::span<const std::byte> output : injector_.unsealed(self_)) {
    if (output.data() < now || output.data() >= now + length_) continue;
    const std::size_t offset = static_cast<std::size_t>(output.data() - now);
    const auto before = last_.begin() + static_cast<std::ptrdiff_t>(offset);
    unsealed.emplace_back(offset, Bytes(before, before + static_cast<std::ptrdiff_t>(output.size())));
  }
  std::copy_n(now, length_, last_.begin());
  for (const auto& [offset, before] : unsealed)
    std::copy(before.begin(), before.end(), last_.begin() + static_cast<std::ptrdiff_t>(offset));
}

void FaultyPeerMemory::strike(const Place& place, const Offsets& written) {
  constexpr std::size_t longest_stale = 100;
  Strike& strike = injector_.own_strike();
  strike.bytes.assign(memory_->own(), memory_->own() + length_);
  strike.is_spoilt.assign(length_, false);
  const std::size_t first = written.empty() ? 0 : injector_.below(written.size());
  std::span<const std::size_t> spoilt(written);
  switch (injector_.fault()) {
    case Fault::flip:
      memory_->own()[written[first]] ^= static_cast<std::byte>(1U << injector_.below(8));
      strike.is_spoilt[written[first]] = true;
      return;
    case Fault::drop:
      lost_ = place;
      step_lost_ = injector_.step(self_);
      return;
    case Fault::delay:
      return std::this_thread::sleep_for(std::chrono::milliseconds(2));
    case Fault::duplicate:
      return;
    case Fault::truncate:
      spoilt = spoilt.subspan(first);
      break;
    case Fault::stale:
      spoilt =
          spoilt.subspan(first).first(std::min(spoilt.size() - first, 1 + injector_.below(longest_stale)));
      break;
    case Fault::reorder:
      break;
  }
  for (const std::size_t offset : spoilt) {
    memory_->own()[offset] = last_[offset];
    strike.is_spoilt[offset] = true;
  }
}

}  // namespace moewe::test
