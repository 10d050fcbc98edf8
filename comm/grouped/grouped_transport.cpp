#include "comm/grouped/grouped_transport.hpp"

#include <algorithm>
#include <exception>
#include <list>
#include <optional>
#include <utility>

#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr Tag card_tag{0};

/// A group that has been closed.
struct Flight {
  struct Exchange {
    Rank peer;
    GroupCard mine;
    GroupCard theirs{};
    Request sent{};
    Request received{};
  };
  enum class Stage { announced, starting, started };

  MessageGroup group;
  std::vector<Exchange> cards;
  std::unique_ptr<Event> passed;
  std::shared_ptr<bool> is_done;
  Stage stage = Stage::announced;
};

class GroupMessage : public Request::Pending {
 public:
  GroupMessage(MessageTransport& transport, std::shared_ptr<const bool> is_done, Rank source)
      : transport_(transport), is_done_(std::move(is_done)), source_(source) {}

  bool test() override {
    if (!*is_done_) transport_.progress();
    return *is_done_;
  }
  Rank source() const override { return source_; }

 private:
  MessageTransport& transport_;
  std::shared_ptr<const bool> is_done_;
  Rank source_;
};

class GroupedTransport : public DeviceTransport {
 public:
  GroupedTransport(Communicator& communicator, Device& device, std::unique_ptr<GroupCarrier> carrier,
                   std::unique_ptr<MessageTransport> host)
      : self_(communicator.rank()),
        device_(device),
        carrier_(std::move(carrier)),
        host_(std::move(host)),
        while_waiting_(std::in_place, communicator.waiter(), [this] { move(); }) {}

  ~GroupedTransport() override {
    while_waiting_.reset();
    if (!failure_ && !flights_.empty()) carrier_->abort();
    for (Flight& flight : flights_) {
      for (Flight::Exchange& card : flight.cards) {
        card.sent = {};
        card.received = {};
      }
    }
    host_.reset();  // before the memory of its messages
  }

  Request post_send(Rank to, Tag tag, std::span<const std::byte> bytes) override {
    open_.sends.push_back({to, tag, bytes});
    return Request(std::make_unique<GroupMessage>(*this, open_is_done_, self_));
  }

  Request post_recv(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes) override {
    expects(from.has_value(), "a receive of a group names its source");
    open_.recvs.push_back({*from, tag, bytes});
    return Request(std::make_unique<GroupMessage>(*this, open_is_done_, *from));
  }

  void progress() override {
    host_->progress();
    move();
  }

  void wait_for(const Event& event) override { carrier_->queue().wait_for(event); }

  void flush() override {
    MessageGroup group = std::exchange(open_, {.number = open_.number + 1, .sends = {}, .recvs = {}});
    if (group.is_empty()) return;
    group.put_in_order();
    flights_.emplace_back();
    Flight& flight = flights_.back();
    flight.is_done = std::exchange(open_is_done_, std::make_shared<bool>(false));
    flight.passed = take_event();
    for (const auto& [peer, card] : group.announcements()) flight.cards.push_back({peer, card});
    flight.group = std::move(group);
    for (Flight::Exchange& card : flight.cards) {
      card.received =
          host_->post_recv(card.peer, card_tag, std::as_writable_bytes(std::span(&card.theirs, 1)));
      card.sent = host_->post_send(card.peer, card_tag, std::as_bytes(std::span(&card.mine, 1)));
    }
  }

 private:
  void move() {
    if (failure_) std::rethrow_exception(failure_);
    if (flights_.empty()) return;
    try {
      carrier_->is_started();  // throws what has failed meanwhile
      for (Flight& flight : flights_)
        if (!is_on_its_way(flight)) break;
      finish_passed();
    } catch (...) {
      failure_ = std::current_exception();
      carrier_->abort();
      throw;
    }
  }

  /// Groups behind it are not started before it is.
  bool is_on_its_way(Flight& flight) {
    if (flight.stage == Flight::Stage::announced) {
      if (!has_agreed(flight)) return false;
      carrier_->start(flight.group);
      flight.stage = Flight::Stage::starting;
    }
    if (flight.stage == Flight::Stage::starting) {
      if (!carrier_->is_started()) return false;
      carrier_->queue().record(*flight.passed);
      flight.stage = Flight::Stage::started;
    }
    return true;
  }

  bool has_agreed(Flight& flight) const {
    const auto is_there = [](Flight::Exchange& card) {
      return card.received.is_done() && card.sent.is_done();
    };
    if (!std::all_of(flight.cards.begin(), flight.cards.end(), is_there)) return false;
    for (const Flight::Exchange& card : flight.cards)
      require_agreement(self_, card.mine, card.peer, card.theirs);
    return true;
  }

  void finish_passed() {
    while (!flights_.empty() && flights_.front().stage == Flight::Stage::started &&
           flights_.front().passed->is_done()) {
      *flights_.front().is_done = true;
      spare_events_.push_back(std::move(flights_.front().passed));
      flights_.pop_front();
    }
  }

  std::unique_ptr<Event> take_event() {
    if (spare_events_.empty()) return device_.make_event();
    std::unique_ptr<Event> event = std::move(spare_events_.back());
    spare_events_.pop_back();
    return event;
  }

  Rank self_;
  Device& device_;
  std::unique_ptr<GroupCarrier> carrier_;
  MessageGroup open_;
  std::shared_ptr<bool> open_is_done_ = std::make_shared<bool>(false);
  std::list<Flight> flights_;  // in the order of their numbers
  std::vector<std::unique_ptr<Event>> spare_events_;
  std::unique_ptr<MessageTransport> host_;
  std::exception_ptr failure_;
  std::optional<WhileWaiting> while_waiting_;
};

}  // namespace

std::unique_ptr<DeviceTransport> make_grouped_transport(Communicator& communicator, Device& device,
                                                        std::unique_ptr<GroupCarrier> carrier,
                                                        std::unique_ptr<MessageTransport> host) {
  return std::make_unique<GroupedTransport>(communicator, device, std::move(carrier), std::move(host));
}

}  // namespace moewe
