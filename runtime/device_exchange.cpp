#include "runtime/device_exchange.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <utility>

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "runtime/kernels/group_rows.hpp"

namespace moewe {
namespace {

std::vector<Rank> peers_on(PathKind kind, std::span<const PathChoice> paths) {
  std::vector<Rank> peers;
  for (const PathChoice& path : paths)
    if (path.kind == kind) peers.push_back(path.peer);
  return peers;
}

struct UsedPaths {
  bool pushes;
  bool messages;
};

/// Collective. What some rank uses.
UsedPaths used_paths(Communicator& communicator, std::span<const PathChoice> paths) {
  const auto is_used = [&](PathKind kind) -> std::int64_t { return peers_on(kind, paths).empty() ? 0 : 1; };
  std::array<std::int64_t, 2> used{is_used(PathKind::direct), is_used(PathKind::message)};
  communicator.all_reduce({.sums = {}, .minima = {}, .maxima = used});
  return {used[0] == 1, used[1] == 1};
}

/// Of the segment of a rank with these paths.
DeviceRegions regions_of(const DeviceSizes& sizes, std::span<const PathChoice> paths) {
  return {sizes, paths.size(), paths.size() - num_by_message(paths)};
}

/// Of those who push to a rank with these paths, itself included.
std::size_t place_among_sources(Rank source, std::span<const PathChoice> paths) {
  return index(source) - num_by_message(paths.first(index(source)));
}

}  // namespace

std::vector<PathChoice> choose_device_paths(const Topology& topology, Rank self,
                                            const ExchangeOptions& options) {
  const char* const no_two_level =
      "path two-level is for layers on cores so far: between devices of different nodes rows go as messages";
  if (!options.path_between) {
    if (options.path == PathRequest::two_level) throw InvalidInput(no_two_level);
    return choose_paths(topology, self, options.path, "");
  }
  std::vector<PathChoice> paths;
  for (std::size_t r = 0; r < topology.num_ranks(); ++r) {
    const Rank peer = rank_at(r);
    const PathKind kind = peer == self ? PathKind::local : options.path_between(self, peer);
    if (kind == PathKind::two_level) throw InvalidInput(no_two_level);
    if (peer != self && options.path_between(peer, self) != kind) {
      throw InvalidInput(fmt::format("ranks {} and {} are to use one path there and another back",
                                     number(self), number(peer)));
    }
    if (kind == PathKind::direct && !topology.share_node(self, peer)) {
      throw InvalidInput(fmt::format("path direct cannot be used: ranks {} and {} are on different nodes",
                                     number(self), number(peer)));
    }
    paths.push_back({peer, kind, "asked for"});
  }
  return paths;
}

std::size_t num_by_message(std::span<const PathChoice> paths) {
  return peers_on(PathKind::message, paths).size();
}

DeviceExchange::DeviceExchange(Engine& engine, Device& device, const DeviceSizes& sizes,
                               std::vector<PathChoice> paths)
    : communicator_(engine.communicator()),
      options_(engine.exchange_options()),
      sizes_(sizes),
      regions_(regions_of(sizes, paths)),
      paths_(std::move(paths)) {
  const UsedPaths used = used_paths(communicator_, paths_);
  if (used.pushes || !used.messages) {
    share_segments(device, engine.memory());
  } else {
    together(communicator_, [&] {
      alone_ = DeviceBuffer(device, engine.memory(), DevicePeerMemory::meter_name, regions_.bytes);
    });
  }
  if (used.messages) messages_.emplace(engine, device, sizes_, peers_on(PathKind::message, paths_));
}

void DeviceExchange::share_segments(Device& device, MemoryMeter& meter) {
  DevicePeerMemoryOffer offer =
      make_device_peer_memory(communicator_, device, meter, num_flags, regions_.bytes);
  if (!offer.memory) {
    throw Error(ErrorKind::communication,
                fmt::format("ranks cannot push into one another's device memory, and can send messages "
                            "instead, where that is asked for: {}",
                            offer.reason_for_none),
                ErrorScope::shared);
  }
  peers_ = std::move(offer.memory);
}

void DeviceExchange::place(Queue& queue, const DeviceStepMemory& memory, const PinnedStepMemory& pinned) {
  queue_ = &queue;
  const Rank self = communicator_.rank();
  for (const PathChoice& path : paths_) {
    const std::size_t rank = index(path.peer);
    if (path.kind == PathKind::message) {  // is told in every step
      pinned.row_destinations[rank] = pinned.plan_destinations[rank] = nullptr;
      pinned.sources[rank] = {};
      continue;
    }
    const std::vector<PathChoice> their_paths =
        choose_device_paths(communicator_.topology(), path.peer, options_);
    const DeviceRegions their_regions = regions_of(sizes_, their_paths);
    const std::size_t here = place_among_sources(path.peer, paths_);
    const std::size_t there = place_among_sources(self, their_paths);
    std::byte* const theirs = path.peer == self ? segment() : peers_->writable(path.peer);
    pinned.row_destinations[rank] = theirs + their_regions.rows_from(there);
    pinned.plan_destinations[rank] = theirs + their_regions.plan_from(there);
    pinned.sources[rank] = {reinterpret_cast<const ArrivedPlan*>(segment() + regions_.plan_from(here)),
                            segment() + regions_.rows_from(here), theirs + their_regions.outputs_at,
                            static_cast<std::uint32_t>(sizes_.max_assignments())};
  }
  const std::size_t num_ranks = paths_.size();
  queue.copy(memory.row_destinations, pinned.row_destinations, num_ranks * sizeof(std::byte*));
  queue.copy(memory.plan_destinations, pinned.plan_destinations, num_ranks * sizeof(std::byte*));
  queue.copy(memory.sources, pinned.sources, num_ranks * sizeof(ArrivedFrom));
  if (messages_) messages_->place({&queue, segment() + regions_.outputs_at, memory, pinned});
}

void DeviceExchange::publish(Flag flag, std::uint64_t generation) {
  if (peers_) peers_->publish(*queue_, flag, generation);
}

void DeviceExchange::await(Flag flag, std::uint64_t generation) const {
  for (const PathChoice& path : paths_) {
    if (!peers_ || path.kind == PathKind::message) continue;
    const auto is_there = [&] { return peers_->published(path.peer, flag) >= generation; };
    communicator_.waiter().until(is_there, {flag == rows_arrived ? "rows" : "outputs", path.peer});
  }
}

void DeviceExchange::send_rows(std::uint64_t generation) {
  publish(rows_arrived, generation);
  if (messages_) messages_->send_rows();
}

void DeviceExchange::await_rows(std::uint64_t generation) {
  await(rows_arrived, generation);
  if (messages_) messages_->await_rows();
}

void DeviceExchange::return_outputs(std::uint64_t generation) {
  publish(outputs_there, generation);
  if (messages_) messages_->return_outputs();
}

void DeviceExchange::await_outputs(std::uint64_t generation) {
  await(outputs_there, generation);
  if (messages_) messages_->await_outputs();
}

}  // namespace moewe
