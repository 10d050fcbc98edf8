#include "launch/run_plan.hpp"

#include <gtest/gtest.h>

#include "comm/error.hpp"
#include "comm/loopback/loopback_communicator.hpp"
#include "comm/loopback/run_ranks.hpp"

namespace moewe {
namespace {

constexpr std::size_t kilobyte = 1000;

/// Of one rank: so much on the host, and in the memory of a GPU.
RunPlan plan_of(std::size_t on_host, std::size_t on_gpu) {
  RunPlan plan;
  plan.resident.add("weights", on_host + on_gpu);
  plan.gpu_bytes = on_gpu;
  plan.remedies = {"patience"};
  return plan;
}

/// What two ranks, of which the second has this plan, are told.
std::string refusal(const RunPlan& of_second, const MemoryLimits& limits) {
  std::string text;
  run_ranks(2, std::chrono::seconds(20), [&](Communicator& communicator) {
    Engine engine(communicator, loopback_backend(), {});
    const bool is_second = communicator.rank() == Rank{1};
    try {
      require_fit(engine, is_second ? of_second : plan_of(1, 1), limits);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
      EXPECT_EQ(error.scope(), ErrorScope::shared);
      if (is_second) text = error.what();
    }
  });
  return text;
}

TEST(RunPlan, FitsWhereHostAndGpuHaveEachWhatTheyNeed) {
  const MemoryLimits limits{.host = 10 * kilobyte, .gpu = 80 * kilobyte, .asked_for = {}};
  EXPECT_EQ(refusal(plan_of(9 * kilobyte, 79 * kilobyte), limits), "");
  EXPECT_EQ(refusal(plan_of(11 * kilobyte, 1 * kilobyte), limits),
            "the run needs 11 kB on rank 1, which may use 10 kB; less is needed with patience");
  EXPECT_EQ(refusal(plan_of(9 * kilobyte, 81 * kilobyte), limits),
            "the run needs 81 kB on the GPU on rank 1, which may use 80 kB; less is needed with patience");
}

TEST(RunPlan, FitsOnTheGpuWithWhatNcclTakesThere) {
  RunPlan plan = plan_of(9 * kilobyte, 60 * kilobyte);
  plan.nccl_bytes = 21 * kilobyte;
  const MemoryLimits limits{.host = 10 * kilobyte, .gpu = 80 * kilobyte, .asked_for = {}};
  EXPECT_EQ(refusal(plan, limits),
            "the run needs 81 kB on the GPU on rank 1, which may use 80 kB; less is needed with patience");
  plan.nccl_bytes = 20 * kilobyte;
  EXPECT_EQ(refusal(plan, limits), "");
}

TEST(RunPlan, IsBoundAsAWholeByALimitThatSomebodyAskedFor) {
  const MemoryLimits limits{.host = 0, .gpu = 80 * kilobyte, .asked_for = 50 * kilobyte};
  EXPECT_EQ(refusal(plan_of(9 * kilobyte, 30 * kilobyte), limits), "");
  EXPECT_EQ(refusal(plan_of(9 * kilobyte, 45 * kilobyte), limits),
            "the run needs 54 kB on rank 1, which may use 50 kB; less is needed with patience");
  EXPECT_EQ(refusal(plan_of(9 * kilobyte, 30 * kilobyte),
                    {.host = 0, .gpu = 20 * kilobyte, .asked_for = 50 * kilobyte}),
            "the run needs 30 kB on the GPU on rank 1, which may use 20 kB; less is needed with patience");
}

TEST(RunPlan, LoadsByWayOfTheHostAndStepsOnTheGpu) {
  RunPlan plan = plan_of(2 * kilobyte, 8 * kilobyte);
  plan.loading_bytes = 5 * kilobyte;
  plan.least_step_bytes = plan.most_step_bytes = 6 * kilobyte;
  plan.gpu_bytes += 6 * kilobyte;
  EXPECT_EQ(plan.least_host_bytes(), 7 * kilobyte);
  EXPECT_EQ(plan.most_host_bytes(), 7 * kilobyte);
  plan.gpu_bytes = 0;  // all of it on the host
  EXPECT_EQ(plan.least_host_bytes(), 16 * kilobyte);
  EXPECT_EQ(plan.most_host_bytes(), 16 * kilobyte);
}

}  // namespace
}  // namespace moewe
