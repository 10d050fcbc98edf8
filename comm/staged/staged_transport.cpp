#include "comm/staged/staged_transport.hpp"

#include <exception>
#include <fmt/format.h>
#include <optional>
#include <utility>

#include "comm/error.hpp"
#include "comm/log.hpp"
#include "comm/staged/staged_receiver.hpp"
#include "comm/staged/staged_sender.hpp"
#include "comm/together.hpp"

namespace moewe {
namespace {

struct HostTransports {
  std::unique_ptr<MessageTransport> heads;
  std::unique_ptr<MessageTransport> chunks;
};

class StagedTransport : public DeviceTransport {
 public:
  StagedTransport(const Waiter& waiter, std::unique_ptr<StagingChunks> outgoing,
                  std::unique_ptr<StagingChunks> incoming, HostTransports carriers)
      : waiter_(waiter.alone()),
        outgoing_(std::move(outgoing)),
        incoming_(std::move(incoming)),
        carriers_(std::move(carriers)),
        sender_(*outgoing_, {*carriers_.heads, *carriers_.chunks}),
        receiver_(*incoming_, {*carriers_.heads, *carriers_.chunks}),
        while_waiting_(std::in_place, waiter, [this] { move(); }) {}

  /// The transports end, which may take waits, before the memory that they may still use.
  ~StagedTransport() override {
    while_waiting_.reset();
    sender_.drop_requests();
    receiver_.drop_requests();
    carriers_.chunks.reset();
    carriers_.heads.reset();
  }

  Request post_send(Rank to, Tag tag, std::span<const std::byte> bytes) override {
    return Request(std::make_unique<PendingSend>(*this, sender_.post(to, tag, bytes)));
  }

  Request post_recv(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes) override {
    return Request(std::make_unique<PendingReceive>(*this, receiver_.post(from, tag, bytes)));
  }

  void progress() override {
    carriers_.heads->progress();
    carriers_.chunks->progress();
    move();
  }

  void wait_for(const Event& event) override {
    outgoing_->wait_for(event);
    incoming_->wait_for(event);
  }

 private:
  class PendingSend : public Request::Pending {
   public:
    PendingSend(StagedTransport& transport, std::shared_ptr<const StagedSender::Message> message)
        : transport_(transport), message_(std::move(message)) {}

    bool test() override {
      if (!message_->is_done) transport_.progress();
      return message_->is_done;
    }
    Rank source() const override { return {}; }

   private:
    StagedTransport& transport_;
    std::shared_ptr<const StagedSender::Message> message_;
  };

  class PendingReceive : public Request::Pending {
   public:
    PendingReceive(StagedTransport& transport, std::shared_ptr<StagedReceiver::Message> message)
        : transport_(transport), message_(std::move(message)) {}

    ~PendingReceive() override {
      if (has_ended()) return;
      try {
        transport_.receiver_.give_up(*message_, transport_.waiter_);
      } catch (const std::exception& error) {
        log(LogLevel::warning, fmt::format("a staged message cannot be given up: {}", error.what()));
      }
    }

    bool test() override {
      if (!has_ended()) transport_.progress();
      if (message_->state == StagedReceiver::State::too_long)
        throw Error(ErrorKind::communication, "a message is longer than the memory posted for it");
      return message_->state == StagedReceiver::State::done;
    }
    Rank source() const override { return message_->source; }

   private:
    bool has_ended() const {
      return message_->state == StagedReceiver::State::done ||
             message_->state == StagedReceiver::State::too_long;
    }

    StagedTransport& transport_;
    std::shared_ptr<StagedReceiver::Message> message_;
  };

  void move() {
    sender_.progress();
    receiver_.progress();
  }

  Waiter waiter_;
  std::unique_ptr<StagingChunks> outgoing_;
  std::unique_ptr<StagingChunks> incoming_;
  HostTransports carriers_;
  StagedSender sender_;
  StagedReceiver receiver_;
  std::optional<WhileWaiting> while_waiting_;
};

}  // namespace

std::unique_ptr<DeviceTransport> make_staged_transport(Communicator& communicator, const Backend& backend,
                                                       Device& device, MemoryMeter& meter,
                                                       const DeviceTransportOptions& options) {
  const Waiter& waiter = communicator.waiter();
  std::unique_ptr<StagingChunks> outgoing, incoming;
  together(communicator, [&] {
    for (auto* const chunks : {&outgoing, &incoming})
      *chunks =
          std::make_unique<StagingChunks>(device, meter, waiter, options.num_chunks, options.chunk_bytes);
  });
  HostTransports carriers{backend.make_transport(communicator), backend.make_transport(communicator)};
  return std::make_unique<StagedTransport>(waiter, std::move(outgoing), std::move(incoming),
                                           std::move(carriers));
}

}  // namespace moewe
