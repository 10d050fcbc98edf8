// Weights of experts from device to device, while steps go on that use them.

#include <algorithm>
#include <deque>
#include <gtest/gtest.h>
#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "comm/error.hpp"
#include "runtime/device_migration.hpp"
#include "tests/support/device_side.hpp"
#include "tests/support/observed_transport.hpp"
#include "tests/support/random_placement.hpp"

namespace moewe {
namespace {

using test::Side;

constexpr std::size_t num_experts = 7;
constexpr std::size_t expert_bytes = DeviceWeightSums::block_bytes + 12345;
constexpr std::size_t per_step = 30'000;
constexpr std::size_t patience_steps =
    20;  // where nothing comes; else steps may be much quicker than messages

std::byte weight(ExpertId expert, std::size_t i) {
  return static_cast<std::byte>((index(expert) * 37 + i * (2 * index(expert) + 1) + i / 251) & 0xFFU);
}

/// A rank's memory for experts, and the epoch that its steps use.
class Slots {
 public:
  Slots(Communicator& communicator, Side& side, std::size_t num_rooms)
      : self_(communicator.rank()), communicator_(communicator), queue_(side.device->make_queue()) {
    for (std::size_t i = 0; i < num_rooms; ++i)
      free_.push_back(memory_.emplace_back(*side.device, side.meter, "experts", expert_bytes).data());
  }

  /// Null where all are in use.
  DeviceExpertRoom take() {
    if (free_.empty()) return nullptr;
    std::byte* const room = free_.back();
    free_.pop_back();
    return {room, [this](std::byte* back) {
              queue_->fill(back, 0xEE, expert_bytes);  // whoever still used it is found out
              free_.push_back(back);
            }};
  }

  void load(const Placement& placement) {
    for (const ExpertId expert : placement.experts_of(self_)) {
      std::vector<std::byte> bytes(expert_bytes);
      for (std::size_t i = 0; i < expert_bytes; ++i) bytes[i] = weight(expert, i);
      DeviceExpertRoom room = take();
      ASSERT_NE(room, nullptr);
      queue_->copy(room.get(), bytes.data(), expert_bytes);
      test::wait(communicator_, *queue_);
      weights.push_back(std::move(room));
    }
  }

  /// What a step does: it uses all of this rank's experts.
  void expect_bits(const Placement& placement) {
    const auto experts = placement.experts_of(self_);
    ASSERT_EQ(weights.size(), experts.size());
    std::vector<std::byte> seen(expert_bytes);
    for (std::size_t slot = 0; slot < experts.size(); ++slot) {
      queue_->copy(seen.data(), weights[slot].get(), expert_bytes);
      test::wait(communicator_, *queue_);
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < expert_bytes; ++i) wrong += seen[i] == weight(experts[slot], i) ? 0U : 1U;
      ASSERT_EQ(wrong, 0U) << "expert " << index(experts[slot]) << ", epoch " << placement.epoch();
    }
  }

  Queue& queue() { return *queue_; }
  std::size_t num_free() const { return free_.size(); }

 private:
  Rank self_;
  Communicator& communicator_;
  std::list<DeviceBuffer> memory_;
  std::vector<std::byte*> free_;
  std::unique_ptr<Queue> queue_;

 public:
  std::vector<DeviceExpertWeights> weights;  // last: goes back to the above
};

/// A layer that does nothing but to look at its weights.
class Layer {
 public:
  Layer(Communicator& communicator, const Backend& backend, Side& side, DeviceCarriage carriage)
      : communicator_(communicator),
        slots(communicator, side, 2 * num_experts),
        carrier_(communicator, backend, *side.device, side.meter, {carriage, 20'000, 3}),
        placement_(contiguous_placement(num_experts, communicator.size())),
        migration_({communicator, *side.device, carrier_, side.meter, expert_bytes}, 0) {
    slots.load(placement_);
  }

  /// With replicas.
  void migrate_somewhere(std::function<DeviceExpertRoom()> take_room = {}) {
    const std::uint64_t epoch = ++num_begun_;
    next_ = test::random_placement(num_experts, communicator_.size(), epoch, test::Duplicates::none);
    const std::size_t patience = take_room ? patience_steps : 100 * patience_steps;
    if (!take_room) take_room = [this] { return slots.take(); };
    migration_.begin({placement_,
                      slots.weights,
                      *next_,
                      plan_migration(placement_, *next_, communicator_.topology()),
                      {per_step, patience},
                      std::move(take_room),
                      nullptr});
  }

  void step() {
    if (auto weights = migration_.begin_step()) {
      slots.weights = std::move(*weights);
      placement_ = *next_;
    }
    std::int64_t word = migration_.word();
    communicator_.all_reduce({.sums = {}, .minima = std::span(&word, 1), .maxima = {}});
    migration_.agree(word);
    const std::size_t sent = migration_.report().sent_bytes;
    migration_.progress();
    EXPECT_LE(migration_.report().sent_bytes, sent + per_step);
    slots.expect_bits(placement_);
  }

  void run_to_the_end() {
    constexpr int most_steps = 5000;
    for (int i = 0; i < most_steps && migration_.is_under_way(); ++i) step();
    EXPECT_FALSE(migration_.is_under_way());
    step();
  }

  const MigrationReport& report() const { return migration_.report(); }
  const Placement& placement() const { return placement_; }

 private:
  Communicator& communicator_;

 public:
  Slots slots;

 private:
  DeviceWeightCarrier carrier_;
  Placement placement_;
  std::optional<Placement> next_;
  std::uint64_t num_begun_ = 0;
  DeviceMigration migration_;
};

/// Staged, and on emulated devices directly too; `changed` is for what is staged.
using Work = std::function<void(Communicator&, Layer&)>;

void on_every_layer(const Work& work, const std::function<Backend(const Backend&)>& changed = {}) {
  bool is_skipped = false;
  test::on_every_rank([&](Communicator& communicator, const Backend& backend) {
    Side side(communicator);
    if (!side.device) {
      if (index(communicator.rank()) == 0) is_skipped = true;
      return;
    }
    for (const DeviceCarriage carriage : {DeviceCarriage::staged, DeviceCarriage::direct}) {
      const bool is_carried = carriage == DeviceCarriage::staged || side.device->is_emulated();
      if (!is_carried || (changed && carriage == DeviceCarriage::direct)) continue;
      Layer layer(communicator, changed ? changed(backend) : backend, side, carriage);
      work(communicator, layer);
      communicator.barrier();
    }
  });
  if (is_skipped) GTEST_SKIP() << "no GPU";
}

TEST(DeviceMigrationContract, StepsSeeTheSameBitsBeforeDuringAndAfter) {
  on_every_layer([](Communicator& communicator, Layer& layer) {
    std::size_t num_moves = 0, num_steps = 0;
    for (int i = 0; i < 2; ++i) {
      layer.migrate_somewhere();
      layer.run_to_the_end();
      EXPECT_EQ(layer.report().state, MigrationState::switched) << layer.report().reason;
      num_moves += layer.report().num_moves;
      num_steps += layer.report().num_steps;
    }
    EXPECT_EQ(layer.placement().epoch(), 2U);
    EXPECT_EQ(layer.report().num_switched, 2U);
    EXPECT_EQ(layer.slots.num_free() + layer.slots.weights.size(), 2 * num_experts);
    if (communicator.size() > 1) {
      EXPECT_GT(num_moves, 0U);
      EXPECT_GT(num_steps, 2 * expert_bytes / per_step);  // it took its time
    }
  });
}

TEST(DeviceMigrationContract, WithoutRoomOnOneRankAllGoOnWithTheOldEpoch) {
  on_every_layer([](Communicator& communicator, Layer& layer) {
    if (communicator.size() == 1) return;
    layer.migrate_somewhere([] { return DeviceExpertRoom(); });
    layer.run_to_the_end();
    EXPECT_EQ(layer.report().state, MigrationState::cancelled);
    EXPECT_EQ(layer.report().reason, "no progress in 20 steps");
    EXPECT_EQ(layer.placement().epoch(), 0U);
    layer.migrate_somewhere([]() -> DeviceExpertRoom { throw Error(ErrorKind::out_of_memory, "no room"); });
    layer.run_to_the_end();
    EXPECT_EQ(layer.report().state, MigrationState::cancelled);
    EXPECT_NE(layer.report().reason.find("no room"), std::string::npos) << layer.report().reason;
    layer.migrate_somewhere();
    layer.run_to_the_end();
    EXPECT_EQ(layer.report().state, MigrationState::switched);
    EXPECT_EQ(layer.report().num_cancelled, 2U);
    EXPECT_EQ(layer.slots.num_free() + layer.slots.weights.size(), 2 * num_experts);
  });
}

/// To the next rank, which has room for nothing.
DeviceMigration::Task task_without_end(const Communicator& communicator, DeviceBuffer& weights,
                                       std::shared_ptr<const void> memory) {
  const std::size_t size = communicator.size();
  std::vector<std::vector<ExpertId>> shifted(size);
  for (std::size_t rank = 0; rank < size; ++rank) shifted[(rank + 1) % size] = {expert_at(rank)};
  const Placement now = contiguous_placement(size, size), next(1, size, std::move(shifted));
  const DeviceExpertWeights slot(weights.data(), [](const std::byte*) {});
  return {now,
          {slot},
          next,
          plan_migration(now, next, communicator.topology()),
          {per_step, patience_steps},
          [] { return DeviceExpertRoom(); },
          std::move(memory)};
}

TEST(DeviceMigrationContract, MemoryThatIsStillSentOutlivesAMigrationThatEnds) {
  test::on_every_rank([](Communicator& communicator, const Backend& backend) {
    Side side(communicator);
    if (!side.device || communicator.size() == 1) return;
    for (const DeviceCarriage carriage : {DeviceCarriage::staged, DeviceCarriage::direct}) {
      if (carriage == DeviceCarriage::direct && !side.device->is_emulated()) continue;
      DeviceBuffer weights(*side.device, side.meter, "experts", expert_bytes);
      auto memory = std::make_shared<int>();
      const std::weak_ptr<int> kept = memory;
      std::optional<DeviceWeightCarrier> carrier(std::in_place, communicator, backend, *side.device,
                                                 side.meter, DeviceTransportOptions{carriage, 20'000, 3});
      std::optional<DeviceMigration> migration(
          std::in_place,
          DeviceMigration::Place{communicator, *side.device, *carrier, side.meter, expert_bytes}, 0);
      migration->begin(task_without_end(communicator, weights, std::move(memory)));
      migration->progress();
      EXPECT_GT(migration->report().sent_bytes, 0U);
      migration.reset();
      EXPECT_FALSE(kept.expired());
      carrier->progress();
      EXPECT_TRUE(!kept.expired() || carriage == DeviceCarriage::direct);  // nobody asks for what is staged
      carrier.reset();
      EXPECT_TRUE(kept.expired());
    }
  });
}

TEST(DeviceMigrationContract, MemoryOfWhatHasBeenSentIsLetGo) {
  test::on_every_rank([](Communicator& communicator, const Backend& backend) {
    Side side(communicator);
    if (!side.device) return;
    const std::size_t size = communicator.size(), self = index(communicator.rank());
    auto memory = std::make_shared<DeviceBuffer>(*side.device, side.meter, "experts", expert_bytes);
    const std::weak_ptr<DeviceBuffer> kept = memory;
    DeviceBuffer room(*side.device, side.meter, "experts", expert_bytes);
    DeviceWeightCarrier carrier(communicator, backend, *side.device, side.meter,
                                {DeviceCarriage::staged, 20'000, 3});
    std::deque<Request> sends;
    sends.push_back(
        carrier.transport().post_send(rank_at((self + 1) % size), Tag{1}, {memory->data(), expert_bytes}));
    carrier.keep_until_sent(std::move(sends), std::move(memory));
    EXPECT_FALSE(kept.expired());
    Request arrived =
        carrier.transport().post_recv(rank_at((self + size - 1) % size), Tag{1}, {room.data(), expert_bytes});
    const auto is_over = [&] {
      carrier.progress();
      return arrived.is_done() && kept.expired();
    };
    communicator.waiter().until(is_over, {"an expert"});
    communicator.barrier();
  });
}

TEST(DeviceMigrationContract, WeightsThatChangeOnTheirWayAreNotUsed) {
  const auto spoilt = [](const Backend& backend) {
    return test::observed(backend, [num_chunks = 0](const test::ObservedMessage& message) mutable {
      constexpr Tag chunks{1};
      if (message.tag == chunks && message.bytes.size() > 5000 && ++num_chunks == 3)
        message.bytes[1234] ^= std::byte{4};
    });
  };
  on_every_layer(
      [](Communicator& communicator, Layer& layer) {
        if (communicator.size() == 1) return;
        layer.migrate_somewhere();
        layer.run_to_the_end();
        EXPECT_EQ(layer.report().state, MigrationState::cancelled);
        EXPECT_NE(layer.report().reason.find("have changed on their way"), std::string::npos)
            << layer.report().reason;
        EXPECT_EQ(layer.placement().epoch(), 0U);
      },
      spoilt);
}

}  // namespace
}  // namespace moewe
