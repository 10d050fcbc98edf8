#include "comm/link_measurement.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "comm/buffer.hpp"

namespace moewe {
namespace {

constexpr std::size_t most_bytes = std::size_t{4} << 20U;  // that a rank sends at a time

/// Each rank sends to one other, or to none; the same value on all ranks.
struct Ring {
  std::vector<std::optional<Rank>> next;

  std::vector<Rank> sources_of(Rank rank) const {
    std::vector<Rank> sources;
    for (std::size_t r = 0; r < next.size(); ++r) {
      if (next[r] == rank) sources.push_back(rank_at(r));
    }
    return sources;
  }

  /// Messages that leave the rank's node or come to it, whichever are more, when every rank sends one.
  std::size_t load_of_node(const Topology& topology, Rank rank) const {
    std::size_t out = 0;
    std::size_t in = 0;
    for (std::size_t r = 0; r < next.size(); ++r) {
      if (!next[r]) continue;
      if (topology.share_node(rank_at(r), rank)) ++out;
      if (topology.share_node(*next[r], rank)) ++in;
    }
    return std::max(out, in);
  }
};

std::size_t place_on_node(const Topology& topology, Rank rank) {
  const auto ranks = topology.node_ranks(rank);
  return static_cast<std::size_t>(std::find(ranks.begin(), ranks.end(), rank) - ranks.begin());
}

/// A ring in every node that has two ranks.
Ring inside_nodes(const Topology& topology) {
  Ring ring;
  for (std::size_t r = 0; r < topology.num_ranks(); ++r) {
    const auto ranks = topology.node_ranks(rank_at(r));
    const std::size_t next = (place_on_node(topology, rank_at(r)) + 1) % ranks.size();
    ring.next.push_back(ranks.size() > 1 ? std::optional(ranks[next]) : std::nullopt);
  }
  return ring;
}

/// From each node to the next one.
Ring between_nodes(const Topology& topology) {
  std::vector<Rank> first_of_node(topology.num_nodes());
  for (std::size_t r = topology.num_ranks(); r-- > 0;)
    first_of_node[topology.node_of(rank_at(r))] = rank_at(r);
  Ring ring;
  for (std::size_t r = 0; r < topology.num_ranks(); ++r) {
    const std::size_t next = (topology.node_of(rank_at(r)) + 1) % topology.num_nodes();
    const auto ranks = topology.node_ranks(first_of_node[next]);
    ring.next.emplace_back(ranks[place_on_node(topology, rank_at(r)) % ranks.size()]);
  }
  return ring;
}

/// One rank's part in moving bytes in one way: all ranks do the same at the same time.
struct Way {
  std::size_t load_of_node;
  std::function<void()> touch;                  ///< moves a few bytes
  std::function<void(std::size_t bytes)> move;  ///< from each rank
};

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Time of the slowest rank, and that by the load of each rank's node.
struct SlowestRank {
  double seconds;
  double seconds_by_load;
};

/// Collective: begun by all ranks at once.
SlowestRank slowest(Communicator& communicator, const Way& way, const std::function<void()>& work) {
  constexpr double ticks_per_s = 1e12;
  communicator.barrier();
  const double seconds = seconds_of(work);
  const double by_load = way.load_of_node == 0 ? 0 : seconds / static_cast<double>(way.load_of_node);
  std::array<std::int64_t, 2> ticks{static_cast<std::int64_t>(seconds * ticks_per_s),
                                    static_cast<std::int64_t>(by_load * ticks_per_s)};
  communicator.all_reduce({.sums = {}, .minima = {}, .maxima = ticks});
  const auto seconds_in = [](std::int64_t t) {
    return static_cast<double>(std::max<std::int64_t>(t, 1)) / ticks_per_s;
  };
  return {seconds_in(ticks[0]), seconds_in(ticks[1])};
}

double measure_latency(Communicator& communicator, const Way& way) {
  constexpr int tries = 3;
  constexpr int touches = 10;
  double least = 0;
  for (int i = 0; i < tries; ++i) {
    const double seconds = slowest(communicator, way, [&] {
                             for (int touch = 0; touch < touches; ++touch) way.touch();
                           }).seconds;
    least = i == 0 ? seconds : std::min(least, seconds);
  }
  return least / touches;
}

/// In amounts that grow until they take long enough to be timed, and until what a link lets pass at once
/// does not count; then a few times more, unless the link is slow.
double measure_s_per_byte(Communicator& communicator, const Way& way, std::size_t least_bytes) {
  constexpr double long_enough_s = 50e-3;
  constexpr double too_long_s = 200e-3;
  constexpr int tries = 3;
  std::size_t bytes = std::min(least_bytes, most_bytes);
  const auto move = [&] { return slowest(communicator, way, [&] { way.move(bytes); }); };
  SlowestRank time = move();
  for (; time.seconds < long_enough_s && 2 * bytes <= most_bytes; time = move()) bytes *= 2;
  double spent = time.seconds;
  double least = time.seconds_by_load;
  for (int i = 1; i < tries && spent < too_long_s; ++i) {
    time = move();
    spent += time.seconds;
    least = std::min(least, time.seconds_by_load);
  }
  return least / static_cast<double>(bytes);
}

LinkCost measure(Communicator& communicator, const Way& way, std::size_t least_bytes) {
  way.touch();  // makes connections
  way.move(std::min(least_bytes, most_bytes));
  const double latency_s = measure_latency(communicator, way);
  return {latency_s, measure_s_per_byte(communicator, way, least_bytes)};
}

/// Sends to the next rank of a ring, and receives from those before.
class MessageRing {
 public:
  /// Both outlive this.
  MessageRing(Communicator& communicator, MessageTransport& transport, const Ring& ring,
              std::size_t message_bytes)
      : communicator_(communicator),
        transport_(transport),
        to_(ring.next[index(communicator.rank())]),
        from_(ring.sources_of(communicator.rank())),
        message_bytes_(message_bytes),
        sent_(meter_, "links' messages", most_bytes),
        received_(meter_, "links' messages", most_bytes * from_.size()) {
    std::memset(sent_.data(), 1, sent_.size());
  }

  /// Blocking. Every rank calls it with the same number.
  void move(std::size_t bytes) {
    std::vector<Request> requests;
    for (std::size_t i = 0; i < from_.size(); ++i) {
      for_each_message(received_.data() + i * most_bytes, bytes, [&](std::span<std::byte> message) {
        requests.push_back(transport_.post_recv(from_[i], tag, message));
      });
    }
    for_each_message(sent_.data(), to_ ? bytes : 0, [&](std::span<std::byte> message) {
      requests.push_back(transport_.post_send(*to_, tag, message));
    });
    std::size_t num_done = 0;
    communicator_.waiter().until(
        [&] {
          transport_.progress();
          while (num_done < requests.size() && requests[num_done].is_done()) ++num_done;
          return num_done == requests.size();
        },
        {"messages that measure the links"});
  }

 private:
  static constexpr Tag tag{0};

  template <typename Post>
  void for_each_message(std::byte* at, std::size_t bytes, Post&& post) const {
    for (std::size_t done = 0; done < bytes; done += message_bytes_)
      post(std::span(at + done, std::min(message_bytes_, bytes - done)));
  }

  Communicator& communicator_;
  MessageTransport& transport_;
  std::optional<Rank> to_;
  std::vector<Rank> from_;
  std::size_t message_bytes_;
  MemoryMeter meter_;
  Buffer sent_;
  Buffer received_;
};

/// Collective. None where no rank takes part.
std::optional<LinkCost> measure_messages(Communicator& communicator, MessageTransport& transport,
                                         const Ring& ring, std::size_t message_bytes) {
  constexpr std::size_t few_bytes = 8;
  constexpr std::size_t least_messages = 4;
  if (std::none_of(ring.next.begin(), ring.next.end(), [](const auto& next) { return next.has_value(); }))
    return std::nullopt;
  MessageRing messages(communicator, transport, ring, message_bytes);
  const Way way{ring.load_of_node(communicator.topology(), communicator.rank()),
                [&] { messages.move(few_bytes); }, [&](std::size_t bytes) { messages.move(bytes); }};
  const LinkCost cost = measure(communicator, way, least_messages * message_bytes);
  communicator.barrier();  // nobody leaves under the others' messages
  return cost;
}

/// Reads what the next rank of its node has written.
class MemoryRing {
 public:
  static constexpr std::size_t num_flags = 1;

  /// Collective. Both outlive this.
  MemoryRing(Communicator& communicator, PeerMemory& memory, const Ring& ring)
      : communicator_(communicator),
        memory_(memory),
        next_(ring.next[index(communicator.rank())]),
        read_(meter_, "links' messages", most_bytes) {
    memory_.grow(most_bytes);
    std::memset(memory_.own(), 1, most_bytes);
    std::memset(read_.data(), 0, most_bytes);
    communicator.barrier();  // all segments are as long
  }

  /// Blocking. Every rank calls it equally often.
  void touch() {
    if (!next_) return;
    memory_.publish(0, ++generation_);
    communicator_.waiter().until([&] { return memory_.published(*next_, 0) >= generation_; },
                                 {"a flag that measures peer memory", next_});
  }

  void move(std::size_t bytes) {
    if (next_) std::memcpy(read_.data(), memory_.of(*next_), bytes);
  }

 private:
  Communicator& communicator_;
  PeerMemory& memory_;
  std::optional<Rank> next_;
  std::uint64_t generation_ = 0;
  MemoryMeter meter_;
  Buffer read_;
};

/// Collective.
std::optional<LinkCost> measure_memory(Communicator& communicator, const Backend& backend) {
  const Ring ring = inside_nodes(communicator.topology());
  if (std::none_of(ring.next.begin(), ring.next.end(), [](const auto& next) { return next.has_value(); }))
    return std::nullopt;
  MemoryMeter meter;
  const PeerMemoryOffer offer = backend.make_peer_memory(communicator, meter, MemoryRing::num_flags);
  if (!offer.memory) return std::nullopt;
  MemoryRing memory(communicator, *offer.memory, ring);
  const Way way{ring.load_of_node(communicator.topology(), communicator.rank()), [&] { memory.touch(); },
                [&](std::size_t bytes) { memory.move(bytes); }};
  const LinkCost cost = measure(communicator, way, most_bytes);
  communicator.barrier();  // nobody takes memory away that is being read
  return cost;
}

}  // namespace

LinkCosts measure_links(Communicator& communicator, std::span<const Backend> carriers,
                        const MessageLengths& lengths) {
  const Topology& topology = communicator.topology();
  LinkCosts costs;
  for (const Backend& carrier : carriers) {
    const auto transport = carrier.make_transport(communicator);
    CarrierCosts messages{carrier.carrier, {}, {}};
    if (topology.num_nodes() > 1) {
      messages.between_nodes =
          measure_messages(communicator, *transport, between_nodes(topology), lengths.between_nodes);
    }
    messages.inside_nodes =
        measure_messages(communicator, *transport, inside_nodes(topology), lengths.inside_nodes);
    costs.carriers.push_back(std::move(messages));
  }
  costs.memory = measure_memory(communicator, carriers.front());
  return costs;
}

}  // namespace moewe
