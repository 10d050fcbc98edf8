#include "tests/support/faulty_transport.hpp"

#include <algorithm>

namespace moewe::test {

class Delay::Pending : public Request::Pending {
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

Request Delay::send(Tag tag, std::span<const std::byte> bytes) {
  late_.push_back(std::make_shared<Late>(Late{tag, bytes, std::nullopt}));
  return Request(std::make_unique<Pending>(*this, late_.back()));
}

void Delay::count() {
  if (num_looks_ == most_looks || ++num_looks_ < most_looks) return;
  for (const auto& late : std::exchange(late_, {}))
    late->posted = transport_.post_send(to_, late->tag, late->bytes);
  board_.happened();
  board_.let_go();
}

/// A receive that lets time pass whenever it is asked for.
class FaultyTransport::Counted : public Request::Pending {
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

Request FaultyTransport::post_send(Rank to, Tag tag, std::span<const std::byte> bytes) {
  const Bytes* const old = older(to, tag, bytes);
  const Place place{Carrier::message, self_, to, static_cast<int>(tag), num_sent_[{to, tag}]++};
  injector_.record({place, bytes.size(), old != nullptr});
  Bytes& copy = sent_.emplace_back(bytes.begin(), bytes.end());
  const std::size_t begin = channel_.size();
  if (injector_.is_on_target(place)) {
    channel_.insert(channel_.end(), bytes.begin(), bytes.end());
    is_spoilt_.resize(channel_.size(), is_next_spoilt_ || is_rest_spoilt_);
    is_next_spoilt_ = false;
  }
  const bool is_possible = injector_.fault() != Fault::stale || old != nullptr;
  const bool is_struck = is_possible && injector_.strikes(place);
  has_struck_ = has_struck_ || is_struck;
  Request request = is_struck ? spoil({to, tag, copy, begin, old}) : send(to, tag, copy);
  if (!is_struck) release_held(place);
  if (has_struck_ && injector_.is_on_target(place)) {
    injector_.own_strike().bytes = channel_;
    injector_.own_strike().is_spoilt = is_spoilt_;
  }
  remember(to, tag, bytes);
  injector_.board().happened();
  return request;
}

Request FaultyTransport::post_recv(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes) {
  constexpr std::byte unlikely{0xA5};
  std::fill(bytes.begin(), bytes.end(), unlikely);
  Request request = transport_->post_recv(from, tag, bytes);
  injector_.board().happened();
  if (injector_.fault() != Fault::delay) return request;
  return Request(std::make_unique<Counted>(*this, std::move(request)));
}

void FaultyTransport::progress() {
  if (delay_) delay_->count();
  transport_->progress();
}

Request FaultyTransport::send(Rank to, Tag tag, std::span<const std::byte> bytes) {
  if (delay_ && delay_->holds(to)) return delay_->send(tag, bytes);
  return transport_->post_send(to, tag, bytes);
}

void FaultyTransport::release_held(const Place& place) {
  if (!held_ || held_->to != place.to || static_cast<int>(held_->tag) != place.channel) return;
  extra_.push_back(transport_->post_send(held_->to, held_->tag, held_->bytes));
  held_.reset();
}

void FaultyTransport::note_spoilt(std::size_t begin, std::size_t length) {
  std::fill_n(is_spoilt_.begin() + static_cast<std::ptrdiff_t>(begin), length, true);
}

/// What is lost or comes twice or late lets others with its tag come in its place.
Request FaultyTransport::spoil(const Struck& struck) {
  auto& [to, tag, bytes, begin, old] = struck;
  const std::size_t length = bytes.size();
  switch (injector_.fault()) {
    case Fault::drop:
      note_spoilt(begin, length);
      is_rest_spoilt_ = true;
      return {};
    case Fault::reorder:
      note_spoilt(begin, length);
      is_next_spoilt_ = true;
      held_ = Held{to, tag, bytes};
      return {};
    case Fault::duplicate:
      is_rest_spoilt_ = true;
      extra_.push_back(transport_->post_send(to, tag, bytes));
      break;
    case Fault::flip: {
      const std::size_t bit = injector_.below(8 * length);
      bytes[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
      note_spoilt(begin + bit / 8, 1);
      break;
    }
    case Fault::truncate: {
      const std::size_t kept = injector_.below(length);
      bytes.resize(kept);
      note_spoilt(begin + kept, length - kept);
      break;
    }
    case Fault::stale:
      bytes = *old;
      note_spoilt(begin, length);
      break;
    case Fault::delay:
      delay_ = std::make_unique<Delay>(*transport_, to, injector_.board());
      break;
  }
  return send(to, tag, bytes);
}

const FaultyTransport::Bytes* FaultyTransport::older(Rank to, Tag tag,
                                                     std::span<const std::byte> bytes) const {
  constexpr int num_kinds = 4;
  const auto found = first_.find({to, static_cast<int>(tag) % num_kinds, bytes.size()});
  const bool is_other =
      found != first_.end() && !std::equal(bytes.begin(), bytes.end(), found->second.begin());
  return is_other ? &found->second : nullptr;
}

void FaultyTransport::remember(Rank to, Tag tag, std::span<const std::byte> bytes) {
  constexpr int num_kinds = 4;
  first_.try_emplace({to, static_cast<int>(tag) % num_kinds, bytes.size()}, bytes.begin(), bytes.end());
}

}  // namespace moewe::test
