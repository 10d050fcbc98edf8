#include "comm/loopback/loopback_transport.hpp"

#include <algorithm>
#include <atomic>
#include <list>
#include <mutex>
#include <vector>

#include "comm/error.hpp"

namespace moewe {
namespace {

/// How far a message has come; shared by its request and the mailbox it waits in.
struct Progress {
  enum class State { waiting, done, too_long };
  std::atomic<State> state{State::waiting};
  Rank source{};
};

struct WaitingSend {
  Rank source;
  Tag tag;
  std::span<const std::byte> bytes;
  std::shared_ptr<Progress> progress;
};

struct WaitingRecv {
  std::optional<Rank> from;
  Tag tag;
  std::span<std::byte> bytes;
  std::shared_ptr<Progress> progress;

  bool matches(const WaitingSend& send) const { return tag == send.tag && (!from || *from == send.source); }
};

void deliver(const WaitingSend& send, const WaitingRecv& recv) {
  const bool fits = send.bytes.size() <= recv.bytes.size();
  if (fits) std::copy(send.bytes.begin(), send.bytes.end(), recv.bytes.begin());
  recv.progress->source = send.source;
  recv.progress->state.store(fits ? Progress::State::done : Progress::State::too_long,
                             std::memory_order_release);
  send.progress->state.store(Progress::State::done, std::memory_order_release);
}

/// Where messages to one rank meet its receives, each kept in the order of posting until its partner comes.
class Mailbox {
 public:
  void add(const WaitingSend& send) {
    const std::lock_guard lock(mutex_);
    const auto recv = std::find_if(recvs_.begin(), recvs_.end(),
                                   [&](const WaitingRecv& waiting) { return waiting.matches(send); });
    if (recv == recvs_.end()) {
      sends_.push_back(send);
    } else {
      deliver(send, *recv);
      recvs_.erase(recv);
    }
  }

  void add(const WaitingRecv& recv) {
    const std::lock_guard lock(mutex_);
    const auto send = std::find_if(sends_.begin(), sends_.end(),
                                   [&](const WaitingSend& waiting) { return recv.matches(waiting); });
    if (send == sends_.end()) {
      recvs_.push_back(recv);
    } else {
      deliver(*send, recv);
      sends_.erase(send);
    }
  }

  /// With a send those after it are forgotten, which must not be taken for it.
  void forget(const Progress* progress) {
    const std::lock_guard lock(mutex_);
    const auto is_it = [&](const auto& waiting) { return waiting.progress.get() == progress; };
    recvs_.remove_if(is_it);
    const auto given_up = std::find_if(sends_.begin(), sends_.end(), is_it);
    if (given_up == sends_.end()) return;
    const WaitingSend first = *given_up;
    const auto is_of_its_kind = [&](const WaitingSend& send) {
      return send.source == first.source && send.tag == first.tag;
    };
    sends_.erase(std::remove_if(given_up, sends_.end(), is_of_its_kind), sends_.end());
  }

 private:
  std::mutex mutex_;
  std::list<WaitingSend> sends_;
  std::list<WaitingRecv> recvs_;
};

class LoopbackPending : public Request::Pending {
 public:
  LoopbackPending(std::shared_ptr<Mailbox> mailbox, std::shared_ptr<Progress> progress)
      : mailbox_(std::move(mailbox)), progress_(std::move(progress)) {}

  ~LoopbackPending() override {
    if (progress_->state.load(std::memory_order_acquire) == Progress::State::waiting) {
      mailbox_->forget(progress_.get());
    }
  }

  bool test() override {
    const Progress::State state = progress_->state.load(std::memory_order_acquire);
    if (state == Progress::State::too_long) {
      throw Error(ErrorKind::communication, "a message is longer than the memory posted for it");
    }
    return state == Progress::State::done;
  }

  Rank source() const override { return progress_->source; }

 private:
  std::shared_ptr<Mailbox> mailbox_;
  std::shared_ptr<Progress> progress_;
};

class LoopbackTransport : public MessageTransport {
 public:
  LoopbackTransport(Rank rank, std::vector<std::shared_ptr<Mailbox>> mailboxes)
      : rank_(rank), mailboxes_(std::move(mailboxes)) {}

  Request post_send(Rank to, Tag tag, std::span<const std::byte> bytes) override {
    auto progress = std::make_shared<Progress>();
    mailboxes_[index(to)]->add(WaitingSend{rank_, tag, bytes, progress});
    return Request(std::make_unique<LoopbackPending>(mailboxes_[index(to)], std::move(progress)));
  }

  Request post_recv(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes) override {
    auto progress = std::make_shared<Progress>();
    mailboxes_[index(rank_)]->add(WaitingRecv{from, tag, bytes, progress});
    return Request(std::make_unique<LoopbackPending>(mailboxes_[index(rank_)], std::move(progress)));
  }

  void progress() override {}

 private:
  Rank rank_;
  std::vector<std::shared_ptr<Mailbox>> mailboxes_;
};

}  // namespace

std::unique_ptr<MessageTransport> make_loopback_transport(Communicator& communicator) {
  auto mine = std::make_shared<Mailbox>();
  const auto addresses = all_gather_values(communicator, &mine);
  std::vector<std::shared_ptr<Mailbox>> mailboxes;
  for (const auto* mailbox : addresses) mailboxes.push_back(*mailbox);
  communicator.barrier();  // `mine` stays until everybody has copied it
  return std::make_unique<LoopbackTransport>(communicator.rank(), std::move(mailboxes));
}

}  // namespace moewe
