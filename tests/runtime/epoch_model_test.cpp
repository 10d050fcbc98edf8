// Every order in which three ranks can take their steps, hear of agreements, finish steps, send and take
// weights, and fail, over two migrations one after the other.

#include <algorithm>
#include <array>
#include <functional>
#include <gtest/gtest.h>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "runtime/epoch_state.hpp"

namespace moewe {
namespace {

constexpr std::size_t num_ranks = 3;
constexpr int max_steps = 6;
constexpr std::size_t num_migrations = 2;
constexpr std::size_t num_epochs = num_migrations + 1;
constexpr int none = -1;

/// What is explored, and what may be wrong with it.
struct Rules {
  bool waits_for_all = true;     ///< else a rank that is ready takes its own word for that of all
  bool steps_hold_slots = true;  ///< else a slot is free as soon as the next epoch has begun
  std::size_t patience = 100;    ///< steps
  std::size_t lanes = 2;
  int num_steps = max_steps;
  bool may_fail = false;  ///< rank 0, once: the ranks are alike
};

/// A rank with two slots. Each epoch takes one, and the weights for it come from the rank before.
struct RankModel {
  EpochState state{0};
  int num_begun = 0;           // migrations
  int num_steps = 0;           // begun
  bool waits = false;          // for the agreement of its newest step
  std::vector<int> in_flight;  // epochs of steps that are to be finished
  std::array<int, num_epochs> slot_of{0, none, none};
  int arriving = none;  // the slot that is being filled
  bool has_sent = false;
  std::vector<int> on_the_way;  // to this rank: numbers of migrations

  bool operator==(const RankModel&) const = default;
};

struct World {
  std::array<RankModel, num_ranks> ranks;
  std::array<std::array<MigrationWord, num_ranks>, std::size_t{max_steps}> words{};  // by step
  std::array<int, std::size_t{max_steps}> epoch_of_step{none, none, none, none, none, none};
  bool has_failed = false;
  std::string defect;

  bool operator==(const World&) const = default;
};

/// Of whatever is a number.
class Hash {
 public:
  std::size_t operator()(const World& world) const {
    std::uint64_t hash = world.has_failed ? 1 : 0;
    const auto add = [&](auto value) {
      constexpr std::uint64_t odd = 0x9E3779B97F4A7C15;
      hash = (hash ^ static_cast<std::uint64_t>(value)) * odd;
      hash ^= hash >> 29U;
    };
    for (const RankModel& rank : world.ranks) {
      for (const int value : {rank.num_begun, rank.num_steps, rank.arriving}) add(value);
      add((rank.waits ? 2 : 0) + (rank.has_sent ? 1 : 0));
      for (const int epoch : rank.in_flight) add(epoch);
      for (const int slot : rank.slot_of) add(slot);
      for (const int number : rank.on_the_way) add(number + 7);
      add(rank.state.word());
      add(rank.state.state());
    }
    for (const auto& words : world.words)
      for (const MigrationWord word : words) add(word);
    return hash;
  }
};

class Explorer {
 public:
  explicit Explorer(const Rules& rules) : rules_(rules) {
    visit({});
    while (!open_.empty() && !defect_) {
      const World next = open_.back();
      open_.pop_back();
      expand(next);
    }
  }

  const std::optional<std::string>& defect() const { return defect_; }
  std::size_t num_worlds() const { return seen_.size(); }
  const std::set<std::uint64_t>& last_epochs() const { return last_epochs_; }

 private:
  /// Worlds that differ in what no rank will look at again are one.
  static void forget_past(World& world) {
    for (std::size_t step = 0; step < world.words.size(); ++step) {
      const auto has_heard = [&](const RankModel& rank) {
        return rank.num_steps - (rank.waits ? 1 : 0) > static_cast<int>(step);
      };
      if (!std::ranges::all_of(world.ranks, has_heard)) return;
      world.words[step] = {};
      world.epoch_of_step[step] = none;
    }
  }

  void visit(World world) {
    forget_past(world);
    if (!world.defect.empty()) defect_ = world.defect;
    const auto [place, is_new] = seen_.insert(std::move(world));
    if (is_new) open_.push_back(*place);
  }

  template <typename Act>
  void try_event(const World& world, std::size_t r, bool is_possible, Act&& act) {
    if (!is_possible) return;
    World after = world;
    act(after, after.ranks[r]);
    any_event_ = true;
    visit(std::move(after));
  }

  void expand(const World& world) {
    any_event_ = false;
    for (std::size_t r = 0; r < num_ranks; ++r) {
      const RankModel& rank = world.ranks[r];
      try_event(world, r, can_begin_step(rank), [&](World& w, RankModel& me) { begin_step(w, me, r); });
      try_event(world, r, rank.waits && have_all_begun(world, rank.num_steps),
                [&](World& w, RankModel& me) { hear(w, me); });
      try_event(world, r, !rank.in_flight.empty(),
                [](World&, RankModel& me) { me.in_flight.erase(me.in_flight.begin()); });
      try_event(world, r, can_send(rank), [&](World& w, RankModel& me) { send(w, me, r); });
      try_event(world, r, can_take(rank), [&](World& w, RankModel& me) { take(w, me); });
      try_event(world, r, rules_.may_fail && r == 0 && !world.has_failed && rank.state.is_under_way(),
                [](World& w, RankModel& me) {
                  me.state.fail();
                  w.has_failed = true;
                });
    }
    if (!any_event_) check_end(world);
  }

  bool can_begin_step(const RankModel& rank) const {
    const std::size_t in_flight = rank.in_flight.size();
    return !rank.waits && in_flight < rules_.lanes && rank.num_steps < rules_.num_steps;
  }

  /// All ranks ask for a migration before the same steps: where none is under way.
  void begin_step(World& world, RankModel& me, std::size_t r) {
    if (!rules_.waits_for_all && me.state.state() == MigrationState::ready) me.state.agree(me.state.word());
    if (!me.state.is_under_way() && me.num_begun < static_cast<int>(num_migrations)) {
      ++me.num_begun;
      me.has_sent = false;
      me.state.begin(me.state.epoch() + 1, 1, rules_.patience);
    } else if (me.state.begin_step()) {
      me.slot_of[static_cast<std::size_t>(me.state.epoch())] = me.arriving;
      me.arriving = none;
    }
    const auto step = static_cast<std::size_t>(me.num_steps++);
    world.words[step][r] = me.state.word();
    const int epoch = static_cast<int>(me.state.epoch());
    if (world.epoch_of_step[step] == none) world.epoch_of_step[step] = epoch;
    if (world.epoch_of_step[step] != epoch) world.defect = "two ranks run one step under different epochs";
    me.waits = true;
  }

  static bool have_all_begun(const World& world, int num_steps) {
    return std::ranges::all_of(world.ranks, [&](const RankModel& r) { return r.num_steps >= num_steps; });
  }

  void hear(World& world, RankModel& me) {
    const auto step = static_cast<std::size_t>(me.num_steps - 1);
    if (me.state.agree(std::ranges::min(world.words[step]))) me.arriving = none;
    me.in_flight.push_back(world.epoch_of_step[step]);
    me.waits = false;
  }

  static bool can_send(const RankModel& rank) {
    return rank.state.state() == MigrationState::copying && !rank.has_sent;
  }

  static void send(World& world, RankModel& me, std::size_t r) {
    me.has_sent = true;
    world.ranks[(r + 1) % num_ranks].on_the_way.push_back(me.num_begun);
    advance(me);
  }

  /// What comes early waits, and so does what finds no slot.
  bool can_take(const RankModel& rank) const {
    if (rank.on_the_way.empty() || rank.on_the_way.front() > rank.num_begun) return false;
    return is_left_over(rank) || free_slot(rank) != none;
  }

  static bool is_left_over(const RankModel& rank) {
    return rank.on_the_way.front() < rank.num_begun || !rank.state.is_under_way();
  }

  void take(World& world, RankModel& me) {
    if (!is_left_over(me)) {
      me.arriving = free_slot(me);
      if (is_in_use(me, me.arriving, true)) world.defect = "a slot in use was written";
      advance(me);
    }
    me.on_the_way.erase(me.on_the_way.begin());
  }

  static void advance(RankModel& me) {
    if (!me.has_sent || me.arriving == none) return;
    me.state.advance(1);
    me.state.make_ready();
  }

  int free_slot(const RankModel& rank) const {
    for (int slot = 0; slot < 2; ++slot) {
      if (!is_in_use(rank, slot, rules_.steps_hold_slots)) return slot;
    }
    return none;
  }

  /// By the epoch of the steps that begin now, or by a step: one that has begun, or that is to be finished.
  static bool is_in_use(const RankModel& rank, int slot, bool by_steps) {
    const auto is_its = [&](std::uint64_t epoch) {
      return rank.slot_of[static_cast<std::size_t>(epoch)] == slot;
    };
    if (is_its(rank.state.epoch())) return true;
    return by_steps && std::ranges::any_of(rank.in_flight, [&](int epoch) {
             return is_its(static_cast<std::uint64_t>(epoch));
           });
  }

  void check_end(const World& world) {
    const EpochState& first = world.ranks[0].state;
    for (const RankModel& rank : world.ranks) {
      if (rank.num_steps < rules_.num_steps || !rank.in_flight.empty()) defect_ = "a rank is stuck";
      if (rank.state.epoch() != first.epoch() || rank.state.is_under_way() != first.is_under_way())
        defect_ = "ranks end under different epochs";
    }
    last_epochs_.insert(first.epoch());
  }

  Rules rules_;
  std::unordered_set<World, Hash> seen_;
  std::vector<World> open_;
  bool any_event_ = false;
  std::optional<std::string> defect_;
  std::set<std::uint64_t> last_epochs_;
};

using Epochs = std::set<std::uint64_t>;

TEST(EpochModel, NoOrderOfEventsTearsAStepApartOrWritesASlotInUse) {
  const Explorer explorer({});
  EXPECT_EQ(explorer.defect().value_or(""), "");
  EXPECT_EQ(explorer.last_epochs(), (Epochs{0, 1, 2})) << "slow ones are still under way at the end";
  EXPECT_GT(explorer.num_worlds(), 10'000U);
}

TEST(EpochModel, NorWhereARankFailsAtAnyTime) {
  const Explorer explorer({.num_steps = 5, .may_fail = true});
  EXPECT_EQ(explorer.defect().value_or(""), "");
  EXPECT_EQ(explorer.last_epochs(), (Epochs{0, 1}));
}

TEST(EpochModel, NorWhereSlowMigrationsAreCancelled) {
  const Explorer explorer({.patience = 2});
  EXPECT_EQ(explorer.defect().value_or(""), "");
  EXPECT_EQ(explorer.last_epochs(), (Epochs{0, 1, 2}));
}

TEST(EpochModel, FindsThatRanksMayNotSwitchOnTheirOwn) {
  const Explorer explorer({.waits_for_all = false});
  EXPECT_EQ(explorer.defect().value_or(""), "two ranks run one step under different epochs");
}

TEST(EpochModel, FindsThatStepsInFlightHoldTheirSlots) {
  const Explorer explorer({.steps_hold_slots = false, .lanes = 3});
  EXPECT_EQ(explorer.defect().value_or(""), "a slot in use was written");
}

}  // namespace
}  // namespace moewe
