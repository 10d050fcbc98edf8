// A step on devices: what kernels and peer memory are made for, put together.

#include <cstring>
#include <gtest/gtest.h>
#include <vector>

#include "comm/device_peer_memory.hpp"
#include "placement/placement.hpp"
#include "runtime/kernels/elementwise.hpp"
#include "runtime/kernels/weighted_sum.hpp"
#include "tests/gpu/activate_run.hpp"
#include "tests/gpu/combine_run.hpp"
#include "tests/gpu/plan_run.hpp"
#include "tests/support/device_side.hpp"

namespace moewe {
namespace {

using test::on_every_device;
using test::Side;
using test::wait;

constexpr std::uint32_t hidden = 37;
constexpr std::size_t row_bytes = hidden * sizeof(float);
constexpr std::uint32_t top_k = 3;
constexpr std::uint32_t num_experts = 10;
constexpr std::size_t most_tokens = 20;
constexpr std::size_t most_assignments = most_tokens * top_k;

constexpr std::size_t rows_arrived = 0;  // flags
constexpr std::size_t outputs_there = 1;

/// What one rank sends to another lies in a region of the latter's segment: rows, assignments, and the
/// outputs that are computed from them.
constexpr std::size_t planned_at = most_tokens * row_bytes;
constexpr std::size_t outputs_at = planned_at + (most_assignments * sizeof(PlannedAssignment) + 63) / 64 * 64;
constexpr std::size_t region_bytes = outputs_at + most_assignments * row_bytes;

/// An expert: an activation that depends on its number.
Activation activation_of(std::size_t expert) { return static_cast<Activation>(expert % 3); }

struct Tokens {
  explicit Tokens(std::size_t rank) : count((rank * 7 + 5) % (most_tokens + 1)) {
    test::Random random(static_cast<unsigned int>(rank + 1));
    x = test::draw_floats(random, count * hidden);
    experts = test::draw_experts(random, count, top_k, num_experts, 10);
    weights = test::draw_floats(random, count * top_k);
  }

  std::vector<float> expected() const {
    std::vector<float> y(count * hidden);
    for (std::size_t token = 0; token < count; ++token) {
      std::vector<std::vector<float>> outputs;
      std::vector<WeightedRow> rows;
      for (std::size_t i = token * top_k; i < (token + 1) * top_k; ++i) {
        if (experts[i] == ExpertId{-1}) continue;
        outputs.emplace_back(x.begin() + static_cast<std::ptrdiff_t>(token * hidden),
                             x.begin() + static_cast<std::ptrdiff_t>((token + 1) * hidden));
        activate(activation_of(index(experts[i])), outputs.back(), outputs.back());
        rows.push_back({reinterpret_cast<const std::byte*>(outputs.back().data()), weights[i]});
      }
      sum_weighted(rows, 0, Dtype::f32, std::span(y).subspan(token * hidden, hidden));
    }
    return y;
  }

  std::size_t count;
  std::vector<float> x;
  std::vector<ExpertId> experts;
  std::vector<float> weights;
};

class DeviceStep {
 public:
  DeviceStep(Communicator& communicator, Side& side, DevicePeerMemory& memory, const Tokens& tokens)
      : communicator_(communicator),
        memory_(memory),
        tokens_(tokens),
        placement_(contiguous_placement(num_experts, communicator.size())),
        work_(*side.device) {}

  std::vector<float> run() {
    plan();
    dispatch();
    compute();
    return combine();
  }

 private:
  std::size_t self() const { return index(communicator_.rank()); }
  std::size_t num_ranks() const { return communicator_.size(); }

  /// In every segment, of what this rank sends.
  std::byte* region(std::size_t rank) { return memory_.writable(rank_at(rank)) + self() * region_bytes; }

  void plan() {
    std::vector<std::uint32_t> first_slot, slot_rank, slot_position;
    for (std::size_t e = 0; e <= num_experts; ++e) first_slot.push_back(static_cast<std::uint32_t>(e));
    for (std::size_t e = 0; e < num_experts; ++e) {
      slot_rank.push_back(static_cast<std::uint32_t>(index(placement_.slot_of(expert_at(e)).rank)));
      slot_position.push_back(placement_.slot_of(expert_at(e)).position);
    }
    const auto count = static_cast<std::uint32_t>(tokens_.count);
    const auto ranks = static_cast<std::uint32_t>(num_ranks());
    const ChooseSlots choose{work_.put(tokens_.experts),
                             work_.put(first_slot),
                             nullptr,
                             work_.room<std::uint32_t>(most_assignments),
                             count * top_k,
                             num_experts};
    const CountDestinations number{choose.slots,
                                   work_.put(slot_rank),
                                   work_.room<std::uint32_t>(ranks),
                                   work_.room<std::uint32_t>(ranks),
                                   count,
                                   top_k,
                                   ranks};
    plan_ = {choose.slots,
             work_.put(tokens_.weights),
             number.slot_rank,
             work_.put(slot_position),
             number.rows,
             number.assignments,
             work_.room<std::uint32_t>(ranks + 1),
             work_.room<std::uint32_t>(ranks + 1),
             work_.room<std::uint32_t>(most_assignments),
             work_.room<PlannedAssignment>(most_assignments),
             count,
             top_k,
             ranks};
    x_ = reinterpret_cast<const std::byte*>(work_.put(tokens_.x));
    work_.queue().run(choose_slots, choose);
    work_.queue().run(count_destinations, number);
    work_.queue().run(fill_plan, plan_);
    first_assignment_ = work_.get(plan_.first_assignment, ranks + 1);
  }

  void dispatch() {
    std::vector<std::byte*> destinations;
    for (std::size_t rank = 0; rank < num_ranks(); ++rank) destinations.push_back(region(rank));
    const PushRows push{x_,        plan_.tokens,    plan_.first_row, work_.put(destinations),
                        row_bytes, plan_.num_ranks, most_assignments};
    sent_.assign(num_ranks(), 0);
    for (std::size_t rank = 0; rank < num_ranks(); ++rank)
      sent_[rank] = first_assignment_[rank + 1] - first_assignment_[rank];
    all_sent_.resize(num_ranks() * num_ranks());
    communicator_.all_gather(std::as_bytes(std::span(sent_)), std::as_writable_bytes(std::span(all_sent_)));
    work_.queue().run(push_rows, push);
    for (std::size_t rank = 0; rank < num_ranks(); ++rank)
      work_.queue().copy(region(rank) + planned_at, plan_.planned + first_assignment_[rank],
                         sent_[rank] * sizeof(PlannedAssignment));
    memory_.publish(work_.queue(), rows_arrived, 1);
  }

  /// Of every source, once its rows are there.
  void compute() {
    std::vector<PlannedAssignment> planned;
    for (std::size_t source = 0; source < num_ranks(); ++source) {
      std::byte* const from = memory_.own() + source * region_bytes;
      communicator_.waiter().until([&] { return memory_.published(rank_at(source), rows_arrived) == 1; },
                                   {"rows", rank_at(source)});
      planned = work_.get(reinterpret_cast<const PlannedAssignment*>(from + planned_at),
                          all_sent_[source * num_ranks() + self()]);
      for (std::size_t i = 0; i < planned.size(); ++i) run_expert(planned[i], from, i);
    }
    memory_.publish(work_.queue(), outputs_there, 1);
  }

  void run_expert(const PlannedAssignment& assignment, std::byte* region, std::size_t i) {
    const ExpertId expert = placement_.experts_of(communicator_.rank())[assignment.slot];
    work_.queue().run(activate_rows,
                      {region + assignment.row * row_bytes, region + outputs_at + i * row_bytes, 1, hidden,
                       false, activation_of(index(expert)), Dtype::f32, Dtype::f32});
  }

  /// From where the outputs were computed.
  std::vector<float> combine() {
    std::vector<const std::byte*> outputs(tokens_.count * top_k, nullptr);
    const auto planned = work_.get(plan_.planned, first_assignment_.back());
    for (std::size_t rank = 0; rank < num_ranks(); ++rank) {
      for (std::size_t i = 0; i < sent_[rank]; ++i) {
        const PlannedAssignment& assignment = planned[first_assignment_[rank] + i];
        outputs[assignment.token * top_k + assignment.k] = region(rank) + outputs_at + i * row_bytes;
      }
    }
    const CombineTokens sum{work_.put(outputs),
                            plan_.weights,
                            work_.room<float>(tokens_.count * hidden),
                            nullptr,
                            plan_.num_tokens,
                            top_k,
                            hidden,
                            Dtype::f32};
    communicator_.barrier();  // nobody allocates while others' queues wait for its flags
    for (std::size_t rank = 0; rank < num_ranks(); ++rank)
      memory_.wait_for(work_.queue(), rank_at(rank), outputs_there, 1);
    work_.queue().run(combine_tokens, sum);
    return work_.get(sum.y, tokens_.count * hidden);
  }

  Communicator& communicator_;
  DevicePeerMemory& memory_;
  const Tokens& tokens_;
  Placement placement_;
  test::DeviceWork work_;
  FillPlan plan_{};
  const std::byte* x_ = nullptr;
  std::vector<std::uint32_t> first_assignment_;
  std::vector<std::uint32_t> sent_;      // assignments to each rank
  std::vector<std::uint32_t> all_sent_;  // [from, to]
};

TEST(DeviceStepContract, HasTheBitsOfOneRankWithoutDevices) {
  on_every_device([](Communicator& communicator, Side& side) {
    auto offer = make_device_peer_memory(communicator, *side.device, side.meter, 2,
                                         communicator.size() * region_bytes);
    ASSERT_NE(offer.memory, nullptr) << offer.reason_for_none;
    const Tokens tokens(index(communicator.rank()));
    DeviceStep step(communicator, side, *offer.memory, tokens);
    EXPECT_EQ(step.run(), tokens.expected());
    communicator.barrier();  // nobody's outputs go before all have read them
  });
}

}  // namespace
}  // namespace moewe
