#pragma once

#include <atomic>
#include <cstring>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "comm/device.hpp"
#include "comm/error.hpp"
#include "comm/grouped/group_carrier.hpp"

namespace moewe::test {

/// What the emulated carriers of thread-ranks share.
struct GroupWire {
  struct Sent {
    std::span<const std::byte> bytes;
    std::atomic<bool> is_taken{false};
  };

  std::mutex mutex;
  std::map<std::pair<Rank, Rank>, std::deque<std::shared_ptr<Sent>>> sent;  // by sender and receiver
  std::atomic<std::size_t> num_started{0};
  std::atomic<std::size_t> num_aborted{0};
  std::atomic<bool> is_aborted{false};
  std::atomic<bool> has_failed{false};
};

/// What NCCL does with groups, on an emulated queue: the queue is held up until all of a group has been sent
/// and received, messages of two ranks meet by their order alone, and starting takes a while.
class EmulatedGroups : public GroupCarrier {
 public:
  EmulatedGroups(GroupWire& wire, Rank self, Device& device)
      : wire_(wire), self_(self), queue_(device.make_queue()) {}

  void start(const MessageGroup& group) override {
    ++wire_.num_started;
    polls_until_started_ = 3;
    groups_.push_back(group);
    const Kernel<Exchange> exchange{"exchange", [](const Exchange& e) { e.groups->run(*e.group); }, nullptr};
    queue_->run(exchange, {this, &groups_.back()});
  }

  bool is_started() override {
    if (wire_.has_failed) throw Error(ErrorKind::communication, "the wire broke");
    if (polls_until_started_ > 0) --polls_until_started_;
    return polls_until_started_ == 0;
  }

  Queue& queue() override { return *queue_; }

  void abort() noexcept override {
    ++wire_.num_aborted;
    wire_.is_aborted = true;
  }

 private:
  struct Exchange {
    EmulatedGroups* groups;
    const MessageGroup* group;
  };

  template <typename Ready>
  void stall_until(Ready&& ready) const {
    while (!ready()) {
      if (wire_.is_aborted) throw Error(ErrorKind::communication, "aborted");
      std::this_thread::yield();
    }
  }

  void run(const MessageGroup& group) {
    std::deque<std::shared_ptr<GroupWire::Sent>> mine;
    for (const GroupSend& send : group.sends) {
      mine.push_back(std::make_shared<GroupWire::Sent>());
      mine.back()->bytes = send.bytes;
      const std::lock_guard lock(wire_.mutex);
      wire_.sent[{self_, send.to}].push_back(mine.back());
    }
    for (const GroupRecv& recv : group.recvs) receive(recv);
    for (const auto& sent : mine) stall_until([&] { return sent->is_taken.load(); });
  }

  void receive(const GroupRecv& recv) {
    std::shared_ptr<GroupWire::Sent> sent;
    stall_until([&] {
      const std::lock_guard lock(wire_.mutex);
      auto& waiting = wire_.sent[{recv.from, self_}];
      if (waiting.empty()) return false;
      sent = waiting.front();
      waiting.pop_front();
      return true;
    });
    expects(sent->bytes.size() == recv.bytes.size(), "both ends of a message have one length");
    std::copy(sent->bytes.begin(), sent->bytes.end(), recv.bytes.begin());
    sent->is_taken = true;
  }

  GroupWire& wire_;
  Rank self_;
  int polls_until_started_ = 0;
  std::list<MessageGroup> groups_;
  std::unique_ptr<Queue> queue_;  // last: its work uses the above
};

}  // namespace moewe::test
