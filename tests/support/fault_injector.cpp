#include "tests/support/fault_injector.hpp"

#include <algorithm>
#include <chrono>
#include <list>
#include <map>
#include <thread>
#include <utility>
#include <vector>

namespace moewe::test {
namespace {

using Bytes = std::vector<std::byte>;

void flip_bit(std::span<std::byte> bytes, std::size_t bit) {
  bytes[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
}

/// Messages to one rank that are kept back, in order, until the sender has looked often enough whether any
/// message of its own is done.
class Delay {
 public:
  Delay(MessageTransport& transport, Rank to) : transport_(transport), to_(to) {}

  bool holds(Rank to) const { return to == to_ && num_looks_ < most_looks; }

  Request send(Tag tag, std::span<const std::byte> bytes) {
    late_.push_back(std::make_shared<Late>(Late{tag, bytes, std::nullopt}));
    return Request(std::make_unique<Pending>(*this, late_.back()));
  }

  void count() {
    if (++num_looks_ < most_looks) return;
    for (const auto& late : std::exchange(late_, {}))
      late->posted = transport_.post_send(to_, late->tag, late->bytes);
  }

 private:
  static constexpr int most_looks = 200;

  struct Late {
    Tag tag;
    std::span<const std::byte> bytes;
    std::optional<Request> posted;
  };

  class Pending : public Request::Pending {
   public:
    Pending(Delay& delay, std::shared_ptr<Late> late) : delay_(delay), late_(std::move(late)) {}
    bool test() override {
      delay_.count();
      return late_->posted && late_->posted->is_done();
    }
    Rank source() const override { return late_->posted->source(); }

   private:
    Delay& delay_;
    std::shared_ptr<Late> late_;
  };

  MessageTransport& transport_;
  Rank to_;
  int num_looks_ = 0;
  std::vector<std::shared_ptr<Late>> late_;
};

/// Sends copies, of which the injector spoils one, and receives into bytes that have nothing to do with what
/// will come: what is missing of a message is missed, though another run has left the same bytes there.
class FaultyTransport : public MessageTransport {
 public:
  FaultyTransport(Rank self, std::unique_ptr<MessageTransport> transport, FaultInjector& injector)
      : self_(self), transport_(std::move(transport)), injector_(injector) {}

  Request post_send(Rank to, Tag tag, std::span<const std::byte> bytes) override {
    const Bytes* const old = older(to, tag, bytes);
    sent_.emplace_back(bytes.begin(), bytes.end());
    Bytes& copy = sent_.back();
    const bool is_possible = !bytes.empty() && (injector_.fault() != Fault::stale || old != nullptr);
    const bool is_struck = injector_.strikes(is_possible, {self_, to});
    if (is_struck && injector_.fault() == Fault::reorder) {
      held_ = Held{to, tag, copy};
      return {};
    }
    if (is_struck && injector_.fault() == Fault::delay) delay_ = std::make_unique<Delay>(*transport_, to);
    if (delay_ && delay_->holds(to)) return delay_->send(tag, copy);
    Request request = is_struck ? spoil(to, tag, copy, old) : transport_->post_send(to, tag, copy);
    if (held_ && held_->to == to) extra_.push_back(send(*std::exchange(held_, std::nullopt)));
    remember(to, tag, bytes);
    return request;
  }
  Request post_recv(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes) override {
    constexpr std::byte unlikely{0xA5};
    std::fill(bytes.begin(), bytes.end(), unlikely);
    Request request = transport_->post_recv(from, tag, bytes);
    if (injector_.fault() != Fault::delay) return request;
    return Request(std::make_unique<Counted>(*this, std::move(request)));
  }
  void progress() override {
    if (delay_) delay_->count();
    transport_->progress();
  }

 private:
  struct Held {
    Rank to;
    Tag tag;
    std::span<const std::byte> bytes;
  };

  /// A receive that lets time pass whenever it is asked for.
  class Counted : public Request::Pending {
   public:
    Counted(FaultyTransport& transport, Request request)
        : transport_(transport), request_(std::move(request)) {}
    bool test() override {
      if (transport_.delay_) transport_.delay_->count();
      return request_.is_done();
    }
    Rank source() const override { return request_.source(); }

   private:
    FaultyTransport& transport_;
    Request request_;
  };

  Request send(const Held& held) { return transport_->post_send(held.to, held.tag, held.bytes); }

  Request spoil(Rank to, Tag tag, Bytes& bytes, const Bytes* old) {
    switch (injector_.fault()) {
      case Fault::drop:
        return {};
      case Fault::flip:
        flip_bit(bytes, injector_.below(8 * bytes.size()));
        break;
      case Fault::duplicate:
        extra_.push_back(transport_->post_send(to, tag, bytes));
        break;
      case Fault::truncate:
        bytes.resize(injector_.below(bytes.size()));
        break;
      case Fault::stale:
        bytes = *old;
        break;
      case Fault::reorder:
      case Fault::delay:
        break;
    }
    return transport_->post_send(to, tag, bytes);
  }

  /// Something else that was sent there with an earlier tag of the same kind and length. Kinds are told by
  /// the tag's last bits, on all paths.
  const Bytes* older(Rank to, Tag tag, std::span<const std::byte> bytes) const {
    const auto found = last_.find({to, static_cast<int>(tag) % 4, bytes.size()});
    const bool is_other =
        found != last_.end() && !std::equal(bytes.begin(), bytes.end(), found->second.begin());
    return is_other ? &found->second : nullptr;
  }
  void remember(Rank to, Tag tag, std::span<const std::byte> bytes) {
    Bytes& last = last_[{to, static_cast<int>(tag) % 4, bytes.size()}];
    if (last.empty()) last.assign(bytes.begin(), bytes.end());
  }

  Rank self_;
  std::list<Bytes> sent_;  // outlives the transport that sends from it
  std::map<std::tuple<Rank, int, std::size_t>, Bytes> last_;
  std::unique_ptr<MessageTransport> transport_;
  std::vector<Request> extra_;
  std::optional<Held> held_;
  std::unique_ptr<Delay> delay_;
  FaultInjector& injector_;
};

/// Flips a bit anywhere in the own segment just before something in it is published, or publishes nothing.
class FaultyPeerMemory : public PeerMemory {
 public:
  FaultyPeerMemory(Rank self, std::unique_ptr<PeerMemory> memory, FaultInjector& injector)
      : self_(self), memory_(std::move(memory)), injector_(injector) {}

  bool reaches(Rank peer) const override { return memory_->reaches(peer); }
  std::size_t num_flags() const override { return memory_->num_flags(); }
  std::byte* own() override { return memory_->own(); }
  void grow(std::size_t bytes) override {
    memory_->grow(bytes);
    length_ = std::max(length_, bytes);
  }
  std::size_t bytes_for(std::size_t bytes) const override { return memory_->bytes_for(bytes); }
  const std::byte* of(Rank peer) const override { return memory_->of(peer); }
  void publish(std::size_t flag, std::uint64_t generation) override {
    const Fault fault = injector_.fault();
    const bool is_possible = fault == Fault::flip || fault == Fault::drop || fault == Fault::delay;
    const bool is_struck = injector_.strikes(is_possible && length_ > 0, {self_, std::nullopt});
    if (is_struck && fault == Fault::drop) return;
    if (is_struck && fault == Fault::flip) flip_bit({memory_->own(), length_}, injector_.below(8 * length_));
    if (is_struck && fault == Fault::delay) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    memory_->publish(flag, generation);
  }
  std::uint64_t published(Rank peer, std::size_t flag) const override {
    return memory_->published(peer, flag);
  }

 private:
  Rank self_;
  std::unique_ptr<PeerMemory> memory_;
  FaultInjector& injector_;
  std::size_t length_ = 0;
};

}  // namespace

std::string name_of(Fault fault) {
  constexpr std::array names{"flip", "drop", "duplicate", "truncate", "reorder", "stale", "delay"};
  return names[static_cast<std::size_t>(fault)];
}

bool FaultInjector::strikes(bool is_possible, const Struck& struck) {
  const std::size_t number = num_events_.fetch_add(1);
  if (!is_possible || number < at_) return false;
  const std::lock_guard lock(mutex_);
  if (struck_) return false;
  struck_ = struck;
  return true;
}

std::size_t FaultInjector::below(std::size_t count) {
  const std::lock_guard lock(mutex_);
  return std::uniform_int_distribution<std::size_t>(0, count - 1)(random_);
}

Backend faulty(const Backend& backend, FaultInjector& injector) {
  Backend result = backend;
  result.make_transport = [make = backend.make_transport, &injector](Communicator& communicator) {
    return std::make_unique<FaultyTransport>(communicator.rank(), make(communicator), injector);
  };
  result.make_peer_memory = [make = backend.make_peer_memory, &injector](
                                Communicator& communicator, MemoryMeter& meter, std::size_t num_flags) {
    PeerMemoryOffer offer = make(communicator, meter, num_flags);
    if (offer.memory) {
      offer.memory =
          std::make_unique<FaultyPeerMemory>(communicator.rank(), std::move(offer.memory), injector);
    }
    return offer;
  };
  return result;
}

}  // namespace moewe::test
