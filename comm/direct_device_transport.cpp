#include "comm/direct_device_transport.hpp"

#include <deque>
#include <functional>
#include <optional>
#include <utility>

namespace moewe {
namespace {

/// A message that may have to be posted later.
struct Delayed {
  enum class Direction { send, receive };

  Direction direction;
  std::function<Request()> post;  ///< null once posted
  Request request{};
};

class DirectDeviceTransport : public DeviceTransport {
 public:
  DirectDeviceTransport(const Waiter& waiter, Device& device, std::unique_ptr<MessageTransport> carrier)
      : queue_(device.make_queue()),
        passed_(device.make_event()),
        carrier_(std::move(carrier)),
        while_waiting_(std::in_place, waiter, [this] { post_delayed(); }) {}

  ~DirectDeviceTransport() override { while_waiting_.reset(); }

  Request post_send(Rank to, Tag tag, std::span<const std::byte> bytes) override {
    return post(Delayed::Direction::send,
                [this, to, tag, bytes] { return carrier_->post_send(to, tag, bytes); });
  }

  Request post_recv(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes) override {
    return post(Delayed::Direction::receive,
                [this, from, tag, bytes] { return carrier_->post_recv(from, tag, bytes); });
  }

  void progress() override {
    post_delayed();
    carrier_->progress();
  }

  void wait_for(const Event& event) override {
    queue_->wait_for(event);
    queue_->record(*passed_);
  }

 private:
  class Pending : public Request::Pending {
   public:
    Pending(DirectDeviceTransport& transport, std::shared_ptr<Delayed> message)
        : transport_(transport), message_(std::move(message)) {}

    /// A send that nobody waits for goes out all the same, lest what was sent after it take its place.
    ~Pending() override {
      if (message_->post && message_->direction == Delayed::Direction::receive)
        message_->post = [] { return Request(); };
    }

    bool test() override {
      transport_.post_delayed();
      return !message_->post && message_->request.is_done();
    }
    Rank source() const override { return message_->request.source(); }

   private:
    DirectDeviceTransport& transport_;
    std::shared_ptr<Delayed> message_;
  };

  Request post(Delayed::Direction direction, std::function<Request()> post) {
    post_delayed();
    if (delayed_.empty() && passed_->is_done()) return post();
    delayed_.push_back(std::make_shared<Delayed>(Delayed{direction, std::move(post)}));
    return Request(std::make_unique<Pending>(*this, delayed_.back()));
  }

  /// In their order. What cannot be posted is not done, and fails whenever it is asked for.
  void post_delayed() {
    while (!delayed_.empty() && passed_->is_done()) {
      Delayed& message = *delayed_.front();
      message.request = message.post();
      message.post = nullptr;
      delayed_.pop_front();
    }
  }

  std::unique_ptr<Queue> queue_;
  std::unique_ptr<Event> passed_;
  std::unique_ptr<MessageTransport> carrier_;
  std::deque<std::shared_ptr<Delayed>> delayed_;
  std::optional<WhileWaiting> while_waiting_;
};

}  // namespace

std::unique_ptr<DeviceTransport> make_direct_device_transport(const Waiter& waiter, Device& device,
                                                              std::unique_ptr<MessageTransport> carrier) {
  return std::make_unique<DirectDeviceTransport>(waiter, device, std::move(carrier));
}

}  // namespace moewe
