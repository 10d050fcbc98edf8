#include <vector>

#include "runtime/kernels/address_outputs.hpp"
#include "runtime/kernels/choose_slots.hpp"
#include "runtime/kernels/combine_tokens.hpp"
#include "runtime/kernels/count_destinations.hpp"
#include "runtime/kernels/fill_plan.hpp"
#include "runtime/kernels/group_rows.hpp"
#include "runtime/kernels/multiply_rows.hpp"
#include "runtime/kernels/push_plan.hpp"
#include "runtime/kernels/push_rows.hpp"
#include "runtime/kernels/route_tokens.hpp"
#include "tests/gpu/kernel_rates.hpp"
#include "tests/gpu/random_values.hpp"

namespace moewe::test {
namespace {

constexpr std::uint32_t num_tokens = 128;
constexpr std::uint32_t top_k = 8;
constexpr std::uint32_t num_experts = 32;
constexpr std::uint32_t hidden = 7168;
constexpr std::uint32_t intermediate = 2048;
constexpr std::uint32_t num_assignments = num_tokens * top_k;
constexpr std::size_t row_bytes = hidden * sizeof(Bf16);
constexpr std::size_t matrix_bytes = std::size_t{hidden} * intermediate * sizeof(Bf16);
constexpr std::size_t weight_bytes = num_experts * 3 * matrix_bytes;
constexpr std::size_t plan_bytes = sizeof(ArrivedPlan) + num_assignments * sizeof(PlannedAssignment);

/// What a step's kernels read and write at least: weights, tokens, rows and hidden activations there and
/// back.
constexpr std::size_t floor_bytes = weight_bytes + 3 * num_tokens * row_bytes +
                                    2 * num_assignments * (row_bytes + intermediate * sizeof(Bf16)) +
                                    num_assignments * row_bytes +
                                    std::size_t{num_tokens} * hidden * sizeof(float);

/// A decode step of one rank that has all experts, in the order of GraphLayer, without its guard.
class DecodeStep {
 public:
  explicit DecodeStep(DeviceWork& work) : work_(work) {
    Random random(1);
    x_ = filled(num_tokens * row_bytes);
    std::byte* const segment = filled(plan_bytes + num_tokens * row_bytes);
    std::byte* const outputs = filled(num_assignments * row_bytes);
    prepare_plan(random);
    push_ = {x_, plan_.tokens,   plan_.first_row, work_.put(std::vector{segment + plan_bytes}), row_bytes,
             1,  num_assignments};
    tell_ = {plan_.planned,  plan_.first_row, plan_.first_assignment, work_.put(std::vector{segment}), 1,
             num_assignments};
    const ArrivedFrom source{reinterpret_cast<const ArrivedPlan*>(segment), segment + plan_bytes, outputs,
                             num_assignments};
    group_.sources = work_.put(std::vector{source});
    group_.row_bytes = row_bytes;
    group_.inputs = work_.room<const std::byte*>(num_assignments);
    group_.outputs = work_.room<std::byte*>(num_assignments);
    group_.first_row = work_.room<std::uint32_t>(num_experts + 1);
    group_.num_sources = 1;
    group_.num_slots = num_experts;
    group_.max_rows = num_assignments;
    prepare_experts();
    address_.planned = plan_.planned;
    address_.first_assignment = plan_.first_assignment;
    address_.outputs = outputs;
    address_.addresses = work_.room<const std::byte*>(num_assignments);
    address_.row_bytes = row_bytes;
    address_.top_k = top_k;
    address_.num_ranks = 1;
    address_.max_assignments = num_assignments;
    sum_.outputs = address_.addresses;
    sum_.weights = route_.weights;
    sum_.y = work_.room<float>(std::size_t{num_tokens} * hidden);
    sum_.num_tokens = num_tokens;
    sum_.top_k = top_k;
    sum_.hidden = hidden;
    sum_.dtype = Dtype::bf16;
  }

  void enqueue() {
    Queue& queue = work_.queue();
    queue.run(route_tokens, route_);
    queue.run(choose_slots, choose_);
    queue.run(count_destinations, count_);
    queue.run(fill_plan, plan_);
    queue.run(push_rows, push_);
    queue.run(push_plan, tell_);
    queue.run(group_rows, group_);
    queue.run(multiply_rows, in_);
    queue.run(multiply_rows, out_);
    queue.run(address_outputs, address_);
    queue.run(combine_tokens, sum_);
  }

 private:
  /// Small values, so that no sum becomes infinite.
  std::byte* filled(std::size_t bytes) {
    auto* const memory = work_.room<std::byte>(bytes);
    work_.queue().fill(memory, 0x3C, bytes);
    return memory;
  }

  void prepare_plan(Random& random) {
    std::vector<std::uint32_t> numbers;
    for (std::uint32_t e = 0; e <= num_experts; ++e) numbers.push_back(e);
    route_.logits = work_.put(draw_floats(random, num_tokens * num_experts));
    route_.selection = work_.room<float>(num_tokens * num_experts);
    route_.scores = work_.room<float>(num_tokens * num_experts);
    route_.experts = work_.room<ExpertId>(num_assignments);
    route_.weights = work_.room<float>(num_assignments);
    route_.num_tokens = num_tokens;
    route_.num_experts = num_experts;
    route_.spec.top_k = top_k;
    choose_ = {route_.experts,  work_.put(numbers), nullptr, work_.room<std::uint32_t>(num_assignments),
               num_assignments, num_experts};
    const std::uint32_t* const rank_of_all = work_.put(std::vector<std::uint32_t>(num_experts, 0));
    count_ = {choose_.slots,
              rank_of_all,
              work_.room<std::uint32_t>(1),
              work_.room<std::uint32_t>(1),
              num_tokens,
              top_k,
              1};
    plan_ = {choose_.slots,
             route_.weights,
             rank_of_all,
             work_.put(numbers),
             count_.rows,
             count_.assignments,
             work_.room<std::uint32_t>(2),
             work_.room<std::uint32_t>(2),
             work_.room<std::uint32_t>(num_assignments),
             work_.room<PlannedAssignment>(num_assignments),
             num_tokens,
             top_k,
             1};
  }

  void prepare_experts() {
    std::byte* const weights = filled(weight_bytes);
    std::byte* const middle = filled(num_assignments * intermediate * sizeof(Bf16));
    std::vector<const std::byte*> ins, outs;
    for (std::size_t e = 0; e < num_experts; ++e) {
      ins.push_back(weights + e * 3 * matrix_bytes);
      outs.push_back(ins.back() + 2 * matrix_bytes);
    }
    in_.inputs = {group_.inputs, nullptr, 0};
    in_.outputs = {nullptr, middle, intermediate * sizeof(Bf16)};
    in_.weights = work_.put(ins);
    in_.first_row = group_.first_row;
    in_.num_slots = num_experts;
    in_.in = hidden;
    in_.out = intermediate;
    in_.max_rows = num_assignments;
    in_.input_dtype = in_.weight_dtype = in_.output_dtype = Dtype::bf16;
    in_.finish = Finish::gated;
    in_.activation = Activation::silu;
    out_ = in_;
    out_.inputs = {nullptr, middle, intermediate * sizeof(Bf16)};
    out_.outputs = {group_.outputs, nullptr, 0};
    out_.weights = work_.put(outs);
    out_.in = intermediate;
    out_.out = hidden;
    out_.finish = Finish::plain;
  }

  DeviceWork& work_;
  std::byte* x_ = nullptr;
  RouteTokens route_{};
  ChooseSlots choose_{};
  CountDestinations count_{};
  FillPlan plan_{};
  PushRows push_{};
  PushPlan tell_{};
  GroupRows group_{};
  MultiplyRows in_{};
  MultiplyRows out_{};
  AddressOutputs address_{};
  CombineTokens sum_{};
};

}  // namespace

std::vector<Rate> measure_steps(Device& device, double copy) {
  DeviceWork work(device);
  DecodeStep step(work);
  const auto rate_of = [&](const char* name, const std::function<void()>& enqueue) {
    const double rate = static_cast<double>(floor_bytes) / seconds_of(work, enqueue) * 1e-9;
    return Rate{name, rate, "GB", rate / copy, "the copy, by what its kernels move at least"};
  };
  std::vector<Rate> rates{rate_of("decode step of 128 tokens, kernel by kernel", [&] { step.enqueue(); })};
  work.wait();
  const auto graph = work.queue().record_graph([&] { step.enqueue(); });
  rates.push_back(rate_of("decode step of 128 tokens, as one graph", [&] { work.queue().launch(*graph); }));
  work.wait();
  return rates;
}

}  // namespace moewe::test
