#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "comm/backend.hpp"

namespace moewe::test {

/// A message on its way, before it is sent; its bytes may be changed.
struct ObservedMessage {
  Rank from;
  Rank to;
  Tag tag;
  std::span<std::byte> bytes;
};

/// Sends copies of what it is given, after an observer has seen them on the sender's thread.
class ObservedTransport : public MessageTransport {
 public:
  using Observer = std::function<void(const ObservedMessage&)>;

  ObservedTransport(Rank self, std::unique_ptr<MessageTransport> transport, Observer observer)
      : self_(self), transport_(std::move(transport)), observer_(std::move(observer)) {}

  Request post_send(Rank to, Tag tag, std::span<const std::byte> bytes) override {
    sent_.emplace_back(bytes.begin(), bytes.end());
    observer_({self_, to, tag, sent_.back()});
    return transport_->post_send(to, tag, sent_.back());
  }
  Request post_recv(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes) override {
    return transport_->post_recv(from, tag, bytes);
  }
  void progress() override { transport_->progress(); }

 private:
  Rank self_;
  std::list<std::vector<std::byte>> sent_;  // outlives the transport that sends from it
  std::unique_ptr<MessageTransport> transport_;
  Observer observer_;
};

/// The same backend, with all that is sent shown to an observer.
inline Backend observed(const Backend& backend, const ObservedTransport::Observer& observer) {
  Backend result = backend;
  result.make_transport = [make = backend.make_transport, observer](Communicator& communicator) {
    return std::make_unique<ObservedTransport>(communicator.rank(), make(communicator), observer);
  };
  return result;
}

}  // namespace moewe::test
