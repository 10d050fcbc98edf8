#include "comm/loopback/loopback_communicator.hpp"

#include <algorithm>
#include <exception>
#include <functional>

#include "comm/error.hpp"

namespace moewe {
namespace {

using Values = std::span<std::int64_t>;

/// Folds the same member of every rank's Reduction, so that `mine` may be overwritten later.
template <typename All, typename Fold>
std::vector<std::int64_t> folded(const All& all, Values Reduction::*member, Fold fold) {
  const Values first = all(0).*member;
  std::vector<std::int64_t> result(first.begin(), first.end());
  for (std::size_t rank = 1; rank < all.size; ++rank) {
    const Values other = all(rank).*member;
    expects(other.size() == result.size(), "all ranks reduce equally many values");
    std::transform(result.begin(), result.end(), other.begin(), result.begin(), fold);
  }
  return result;
}

void overwrite(Values values, const std::vector<std::int64_t>& result) {
  std::copy(result.begin(), result.end(), values.begin());
}

}  // namespace

LoopbackCommunicator::LoopbackCommunicator(std::shared_ptr<LoopbackGroup> group, Rank rank,
                                           const Topology& topology, const Waiter& waiter)
    : group_(std::move(group)), rank_(rank), topology_(topology), waiter_(waiter) {}

template <typename T, typename Read>
void LoopbackCommunicator::share(const T& mine, Read&& read) {
  group_->show(index(rank_), &mine);
  group_->barrier(waiter_);
  std::exception_ptr failure;
  try {
    read();
  } catch (...) {
    failure = std::current_exception();
  }
  group_->barrier(waiter_);  // also after a failure: the others may still read what this rank shows
  if (failure) std::rethrow_exception(failure);
}

void LoopbackCommunicator::all_reduce(const Reduction& values) {
  struct All {
    const LoopbackCommunicator& self;
    std::size_t size;
    const Reduction& operator()(std::size_t rank) const { return self.of<Reduction>(rank); }
  };
  const All all{*this, size()};
  std::vector<std::int64_t> sums, minima, maxima;
  share(values, [&] {
    sums = folded(all, &Reduction::sums, [](std::int64_t a, std::int64_t b) { return a + b; });
    minima = folded(all, &Reduction::minima, [](std::int64_t a, std::int64_t b) { return std::min(a, b); });
    maxima = folded(all, &Reduction::maxima, [](std::int64_t a, std::int64_t b) { return std::max(a, b); });
  });
  overwrite(values.sums, sums);
  overwrite(values.minima, minima);
  overwrite(values.maxima, maxima);
}

void LoopbackCommunicator::exclusive_scan(std::span<std::int64_t> values) {
  std::vector<std::int64_t> sums(values.size(), 0);
  share(values, [&] {
    for (std::size_t rank = 0; rank < index(rank_); ++rank) {
      const auto& others = of<Values>(rank);
      expects(others.size() == values.size(), "all ranks scan equally many values");
      std::transform(sums.begin(), sums.end(), others.begin(), sums.begin(), std::plus<>());
    }
  });
  overwrite(values, sums);
}

void LoopbackCommunicator::broadcast(std::span<std::byte> bytes, Rank root) {
  share(bytes, [&] {
    const auto& source = of<std::span<std::byte>>(index(root));
    expects(source.size() == bytes.size(), "all ranks broadcast equally many bytes");
    if (rank_ != root) std::copy(source.begin(), source.end(), bytes.begin());
  });
}

void LoopbackCommunicator::all_gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  expects(all.size() == mine.size() * size(), "all_gather has room for one block per rank");
  share(mine, [&] {
    for (std::size_t rank = 0; rank < size(); ++rank) {
      const auto& block = of<std::span<const std::byte>>(rank);
      expects(block.size() == mine.size(), "all ranks gather equally long blocks");
      std::copy(block.begin(), block.end(), all.begin() + static_cast<std::ptrdiff_t>(rank * mine.size()));
    }
  });
}

std::vector<std::byte> LoopbackCommunicator::gather(std::span<const std::byte> mine, Rank root) {
  std::vector<std::byte> all;
  share(mine, [&] {
    if (rank_ != root) return;
    for (std::size_t rank = 0; rank < size(); ++rank) {
      const auto& block = of<std::span<const std::byte>>(rank);
      all.insert(all.end(), block.begin(), block.end());
    }
  });
  return all;
}

std::unique_ptr<Communicator> LoopbackCommunicator::child() {
  std::shared_ptr<LoopbackGroup> group;
  if (rank_ == Rank{0}) group = std::make_shared<LoopbackGroup>(size(), group_->abort());
  share(group, [&] {
    if (rank_ != Rank{0}) group = of<std::shared_ptr<LoopbackGroup>>(0);
  });
  return std::make_unique<LoopbackCommunicator>(std::move(group), rank_, topology_, waiter_);
}

}  // namespace moewe
