#include <algorithm>
#include <gtest/gtest.h>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "comm/error.hpp"
#include "comm/shm/shm_communicator.hpp"
#include "tests/support/world.hpp"

namespace moewe {
namespace {

using test::on_every_rank;

/// Deterministic, and different for every rank, call and place.
std::int64_t value_of(std::size_t rank, std::size_t call, std::size_t i) {
  return static_cast<std::int64_t>((rank + 1) * 1000003 + call * 7919 + i * 31) % 100003 - 50000;
}

std::vector<std::int64_t> values_of(std::size_t rank, std::size_t call, std::size_t count) {
  std::vector<std::int64_t> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = value_of(rank, call, i);
  return values;
}

/// Element by element over the ranks before `end`.
template <typename Fold>
std::vector<std::int64_t> folded(std::size_t end, std::size_t call, std::vector<std::int64_t> start,
                                 Fold fold) {
  for (std::size_t rank = 0; rank < end; ++rank) {
    for (std::size_t i = 0; i < start.size(); ++i) start[i] = fold(start[i], value_of(rank, call, i));
  }
  return start;
}

/// Calls that all ranks make, each compared with what a plain loop over all ranks' values gives.
struct Sequence {
  Communicator& communicator;
  std::size_t call = 0;

  std::vector<std::int64_t> mine(std::size_t count) const {
    return values_of(index(communicator.rank()), call, count);
  }

  void all_reduce(std::size_t count) const {
    const auto add = [](std::int64_t a, std::int64_t b) { return a + b; };
    const auto least = [](std::int64_t a, std::int64_t b) { return std::min(a, b); };
    const auto most = [](std::int64_t a, std::int64_t b) { return std::max(a, b); };
    std::vector<std::int64_t> sums = mine(count), minima = mine(count / 3), maxima = mine(2);
    communicator.all_reduce({.sums = sums, .minima = minima, .maxima = maxima});
    const std::size_t size = communicator.size();
    EXPECT_EQ(sums, folded(size, call, std::vector<std::int64_t>(count, 0), add));
    EXPECT_EQ(minima, folded(size, call, std::vector<std::int64_t>(count / 3, INT64_MAX), least));
    EXPECT_EQ(maxima, folded(size, call, std::vector<std::int64_t>(2, INT64_MIN), most));
  }

  void scan(std::size_t count) const {
    std::vector<std::int64_t> values = mine(count);
    communicator.exclusive_scan(values);
    EXPECT_EQ(values, folded(index(communicator.rank()), call, std::vector<std::int64_t>(count, 0),
                             [](std::int64_t a, std::int64_t b) { return a + b; }));
  }

  void broadcast(std::size_t count) const {
    const std::size_t root = call % communicator.size();
    std::vector<std::int64_t> values = mine(count);
    communicator.broadcast(std::as_writable_bytes(std::span(values)), rank_at(root));
    EXPECT_EQ(values, values_of(root, call, count));
  }

  void all_gather(std::size_t count) const {
    const std::vector<std::int64_t> values = mine(count);
    std::vector<std::int64_t> all(count * communicator.size());
    communicator.all_gather(std::as_bytes(std::span(values)), std::as_writable_bytes(std::span(all)));
    std::vector<std::int64_t> expected;
    for (std::size_t rank = 0; rank < communicator.size(); ++rank) {
      const std::vector<std::int64_t> block = values_of(rank, call, count);
      expected.insert(expected.end(), block.begin(), block.end());
    }
    EXPECT_EQ(all, expected);
  }

  void run(std::size_t what, std::size_t count) const {
    switch (what) {
      case 0:
        return all_reduce(count);
      case 1:
        return scan(count);
      case 2:
        return broadcast(count);
      case 3:
        return all_gather(count);
      default:
        return communicator.barrier();
    }
  }
};

TEST(EngineCommunicatorContract, AnySequenceOfCallsGivesWhatItShould) {
  on_every_rank([](Communicator& parent, const Backend& backend) {
    MemoryMeter meter;
    const auto communicator = backend.make_engine_communicator(parent, meter);
    std::mt19937 alike(7);                                           // all ranks draw the same sequence,
    std::mt19937 own(static_cast<unsigned>(number(parent.rank())));  // each at its own pace
    Sequence sequence{*communicator};
    for (; sequence.call < 400; ++sequence.call) {
      const std::size_t what = alike() % 5;
      const bool is_long = alike() % 20 == 0;
      sequence.run(what, alike() % (is_long ? 3000 : 300));
      for (std::size_t pause = own() % 4; pause > 2; --pause) std::this_thread::yield();
      if (HasFailure()) FAIL() << "in call " << sequence.call;
    }
  });
}

/// The longest values that still take the short way, and the shortest that do not.
TEST(EngineCommunicatorContract, LengthsAroundTheBoundWork) {
  on_every_rank([](Communicator& parent, const Backend& backend) {
    MemoryMeter meter;
    const auto communicator = backend.make_engine_communicator(parent, meter);
    constexpr std::size_t bound = ShmCommunicator::max_bytes / sizeof(std::int64_t);
    Sequence sequence{*communicator};
    for (std::size_t what = 0; what < 4; ++what) {
      for (const std::size_t count : {bound - 1, bound, bound + 1}) sequence.run(what, count);
    }
    for (std::size_t count = bound * 3 / 4 - 4; count < bound * 3 / 4 + 4; ++count)
      sequence.all_reduce(count);
  });
}

template <typename Work>
void expect_internal_error(Communicator& communicator, Work work) {
  try {
    work();
    EXPECT_EQ(communicator.size(), 1U) << "ranks that differ were not told";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::internal);
    EXPECT_GT(communicator.size(), 1U) << error.what();
  }
}

TEST(EngineCommunicatorContract, RanksWhoseLengthsOrCallsDifferAreAllToldAndStayInStep) {
  on_every_rank([](Communicator& parent, const Backend& backend) {
    MemoryMeter meter;
    const auto communicator = backend.make_engine_communicator(parent, meter);
    const bool is_odd_one = index(communicator->rank()) + 1 == communicator->size();
    std::vector<std::int64_t> values(5000, 1);
    for (const auto& [usual, odd] : {std::pair<std::size_t, std::size_t>{3, 4}, {3, 5000}, {4999, 5000}}) {
      const std::span<std::int64_t> mine = std::span(values).first(is_odd_one ? odd : usual);
      expect_internal_error(*communicator,
                            [&] { communicator->all_reduce({.sums = mine, .minima = {}, .maxima = {}}); });
      communicator->barrier();
    }
    const std::span<std::int64_t> three = std::span(values).first(3);
    expect_internal_error(*communicator, [&] {  // as many values, to be combined in another way
      communicator->all_reduce(is_odd_one ? Reduction{three, {}, {}} : Reduction{{}, three, {}});
    });
    expect_internal_error(*communicator, [&] {
      if (is_odd_one) return communicator->exclusive_scan(three);
      communicator->all_reduce({.sums = three, .minima = {}, .maxima = {}});
    });
    communicator->barrier();
  });
}

/// Long messages move only while both ends give their carrier a moment: here the receiver is in an
/// all-reduce, which the sender joins once its message has been taken.
TEST(EngineCommunicatorContract, MessagesTravelWhileARankWaits) {
  on_every_rank([](Communicator& parent, const Backend& backend) {
    MemoryMeter meter;
    const auto communicator = backend.make_engine_communicator(parent, meter);
    const auto transport = backend.make_transport(*communicator);
    const std::size_t rank = index(communicator->rank());
    const bool is_sender = rank % 2 == 1;
    const bool is_receiver = !is_sender && rank + 1 < communicator->size();
    std::vector<std::byte> bytes(1U << 20U);
    for (int repetition = 1; repetition <= 3; ++repetition) {
      Request request;
      if (is_receiver) request = transport->post_recv(rank_at(rank + 1), Tag{1}, bytes);
      if (is_sender) {
        std::fill(bytes.begin(), bytes.end(), static_cast<std::byte>(repetition));
        request = transport->post_send(rank_at(rank - 1), Tag{1}, bytes);
        communicator->waiter().until([&] { return request.is_done(); }, {"a message to be taken"});
      }
      communicator->barrier();
      communicator->waiter().until([&] { return request.is_done(); }, {"a message"});
      EXPECT_EQ(bytes.back(), static_cast<std::byte>(is_sender || is_receiver ? repetition : 0));
    }
    communicator->barrier();
  });
}

/// A communicator that waits less long.
class Impatient : public Communicator {
 public:
  Impatient(std::unique_ptr<Communicator> patient, Waiter waiter)
      : patient_(std::move(patient)), waiter_(waiter) {}

  Rank rank() const override { return patient_->rank(); }
  const Topology& topology() const override { return patient_->topology(); }
  const Waiter& waiter() const override { return waiter_; }
  void all_reduce(const Reduction& values) override { patient_->all_reduce(values); }
  void exclusive_scan(std::span<std::int64_t> values) override { patient_->exclusive_scan(values); }
  void broadcast(std::span<std::byte> bytes, Rank root) override { patient_->broadcast(bytes, root); }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    patient_->all_gather(mine, all);
  }
  std::vector<std::byte> gather(std::span<const std::byte> mine, Rank root) override {
    return patient_->gather(mine, root);
  }
  std::unique_ptr<Communicator> child() override { return patient_->child(); }

 private:
  std::unique_ptr<Communicator> patient_;
  Waiter waiter_;
};

TEST(EngineCommunicatorContract, ARankThatNeverComesIsNamedAtTheDeadline) {
  on_every_rank([](Communicator& parent, const Backend& backend) {
    MemoryMeter meter;
    const Rank last = rank_at(parent.size() - 1);
    const auto communicator =
        make_shm_communicator(std::make_unique<Impatient>(parent.child(), Waiter(std::chrono::seconds(1))),
                              backend.make_peer_memory, meter);
    ASSERT_NE(dynamic_cast<ShmCommunicator*>(communicator.get()), nullptr);
    communicator->barrier();
    if (communicator->rank() != last) {
      try {
        communicator->barrier();
        ADD_FAILURE() << "the barrier ended without rank " << number(last);
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::timeout);
        EXPECT_EQ(error.what(), "waited 1 s for an all-reduce from rank " + std::to_string(number(last)));
      }
    }
    parent.barrier();
  });
}

TEST(EngineCommunicatorContract, OneNodeGetsTheShortWay) {
  on_every_rank([](Communicator& parent, const Backend& backend) {
    MemoryMeter meter;
    const auto communicator = backend.make_engine_communicator(parent, meter);
    EXPECT_NE(dynamic_cast<ShmCommunicator*>(communicator.get()), nullptr);
    EXPECT_EQ(communicator->rank(), parent.rank());
    EXPECT_EQ(communicator->size(), parent.size());
    communicator->child()->barrier();
    EXPECT_GT(meter.bytes(), 0U);
  });
}

}  // namespace
}  // namespace moewe
