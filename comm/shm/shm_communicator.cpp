#include "comm/shm/shm_communicator.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <functional>

#include "comm/error.hpp"
#include "comm/together.hpp"

namespace moewe {
namespace {

std::byte* write(std::span<const std::byte> bytes, std::byte* to) {
  return std::copy(bytes.begin(), bytes.end(), to);
}

const std::int64_t* words_at(const std::byte* values) {
  return reinterpret_cast<const std::int64_t*>(values);
}

/// Returns what follows the folded words.
template <typename Fold>
const std::int64_t* fold_into(std::span<std::int64_t> result, const std::int64_t* other, Fold fold) {
  std::transform(result.begin(), result.end(), other, result.begin(), fold);
  return other + result.size();
}

void fold_into(const Reduction& result, const std::int64_t* other) {
  other = fold_into(result.sums, other, std::plus<>());
  other = fold_into(result.minima, other, [](std::int64_t a, std::int64_t b) { return std::min(a, b); });
  fold_into(result.maxima, other, [](std::int64_t a, std::int64_t b) { return std::max(a, b); });
}

constexpr const char* all_reduce_text = "an all-reduce";
constexpr const char* scan_text = "a scan";
constexpr const char* broadcast_text = "a broadcast";
constexpr const char* all_gather_text = "an all-gather";

}  // namespace

enum class ShmCommunicator::Operation : std::uint64_t { all_reduce, exclusive_scan, broadcast, all_gather };

/// What all ranks must ask for alike.
struct ShmCommunicator::Call {
  Operation operation;
  std::array<std::uint64_t, 3> lengths;

  bool operator==(const Call&) const = default;
};

struct alignas(64) ShmCommunicator::Place {
  std::uint64_t number;
  Call call;
  std::array<std::byte, max_bytes> values;
};

std::size_t ShmCommunicator::segment_bytes() { return 2 * sizeof(Place); }

ShmCommunicator::ShmCommunicator(std::unique_ptr<Communicator> beneath, std::unique_ptr<MemoryMeter> meter,
                                 std::unique_ptr<PeerMemory> memory)
    : beneath_(std::move(beneath)),
      meter_(std::move(meter)),
      memory_(std::move(memory)),
      rank_(beneath_->rank()) {
  for (std::size_t rank = 0; rank < beneath_->size(); ++rank) {
    if (rank_at(rank) != rank_) peers_.push_back(rank_at(rank));
    segments_.push_back(memory_->of(rank_at(rank)));
  }
}

ShmCommunicator::Place& ShmCommunicator::place_of(Rank rank) const {
  const std::byte* place = segments_[index(rank)] + number_ % 2 * sizeof(Place);
  // Only the own segment is written to through this reference; others may be mapped read-only.
  return *reinterpret_cast<Place*>(const_cast<std::byte*>(place));
}

std::byte* ShmCommunicator::begin() {
  ++number_;
  return place_of(rank_).values.data();
}

template <typename Visit>
void ShmCommunicator::share(const Call& call, std::string_view what, Visit&& visit) {
  Place& mine = place_of(rank_);
  mine.call = call;
  std::atomic_ref(mine.number).store(number_, std::memory_order_release);
  bool is_same_call = true;
  auto next = peers_.begin();
  WaitReason reason{what};
  const auto has_all = [&] {
    for (; next != peers_.end(); ++next) {
      Place& theirs = place_of(*next);
      reason.peer = *next;
      if (std::atomic_ref(theirs.number).load(std::memory_order_acquire) != number_) return false;
      is_same_call = is_same_call && theirs.call == call;
      if (is_same_call) visit(*next, std::as_const(theirs).values.data());
    }
    return true;
  };
  waiter().until(has_all, reason);
  expects(is_same_call, "all ranks call the same collective, with equally many values");
}

void ShmCommunicator::agree_to_go_beneath(const Call& call, std::string_view what) {
  begin();
  share(call, what, [](Rank, const std::byte*) {});
}

void ShmCommunicator::all_reduce(const Reduction& values) {
  const Call call{Operation::all_reduce, {values.sums.size(), values.minima.size(), values.maxima.size()}};
  if (values.sums.size_bytes() + values.minima.size_bytes() + values.maxima.size_bytes() > max_bytes) {
    agree_to_go_beneath(call, all_reduce_text);
    return beneath_->all_reduce(values);
  }
  std::byte* end = begin();
  for (const auto& part : {values.sums, values.minima, values.maxima}) end = write(std::as_bytes(part), end);
  share(call, all_reduce_text, [&](Rank, const std::byte* theirs) { fold_into(values, words_at(theirs)); });
}

void ShmCommunicator::exclusive_scan(std::span<std::int64_t> values) {
  const Call call{Operation::exclusive_scan, {values.size(), 0, 0}};
  if (values.size_bytes() > max_bytes) {
    agree_to_go_beneath(call, scan_text);
    return beneath_->exclusive_scan(values);
  }
  write(std::as_bytes(values), begin());
  std::fill(values.begin(), values.end(), std::int64_t{0});
  share(call, scan_text, [&](Rank peer, const std::byte* theirs) {
    if (peer < rank_) fold_into(values, words_at(theirs), std::plus<>());
  });
}

void ShmCommunicator::broadcast(std::span<std::byte> bytes, Rank root) {
  const Call call{Operation::broadcast, {bytes.size(), index(root), 0}};
  if (bytes.size() > max_bytes) {
    agree_to_go_beneath(call, broadcast_text);
    return beneath_->broadcast(bytes, root);
  }
  std::byte* const mine = begin();
  if (rank_ == root) write(bytes, mine);
  share(call, broadcast_text, [&](Rank peer, const std::byte* theirs) {
    if (peer == root) std::copy_n(theirs, bytes.size(), bytes.begin());
  });
}

void ShmCommunicator::all_gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  expects(all.size() == mine.size() * size(), "all_gather has room for one block per rank");
  const Call call{Operation::all_gather, {mine.size(), 0, 0}};
  if (mine.size() > max_bytes) {
    agree_to_go_beneath(call, all_gather_text);
    return beneath_->all_gather(mine, all);
  }
  const auto block_of = [&](Rank rank) { return all.data() + index(rank) * mine.size(); };
  write(mine, begin());
  write(mine, block_of(rank_));
  share(call, all_gather_text, [&](Rank peer, const std::byte* theirs) {
    write({theirs, mine.size()}, block_of(peer));
  });
}

std::unique_ptr<Communicator> make_shm_communicator(
    std::unique_ptr<Communicator> communicator,
    const std::function<PeerMemoryOffer(Communicator&, MemoryMeter&, std::size_t num_flags)>&
        make_peer_memory,
    MemoryMeter& meter) {
  const Topology& topology = communicator->topology();
  if (topology.num_nodes() > 1 || topology.num_ranks() > ShmCommunicator::max_ranks) return communicator;
  auto renaming = std::make_unique<MemoryMeter>(meter, communicator_name);
  PeerMemoryOffer offer = make_peer_memory(*communicator, *renaming, 0);
  if (!offer.memory) return communicator;
  try {
    together(*communicator, [&] { offer.memory->grow(ShmCommunicator::segment_bytes()); });
  } catch (const Error& error) {
    if (error.scope() != ErrorScope::shared) throw;
    offer.memory.reset();
    return communicator;
  }
  return std::make_unique<ShmCommunicator>(std::move(communicator), std::move(renaming),
                                           std::move(offer.memory));
}

}  // namespace moewe
