// What is under way moves along while a rank computes, and when it is told to.

#include <array>
#include <atomic>
#include <gtest/gtest.h>
#include <thread>

#include "comm/loopback/run_ranks.hpp"
#include "runtime/paths/announcement.hpp"
#include "runtime/paths/two_level_messages.hpp"
#include "tests/support/layer_runs.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe {
namespace {

constexpr std::size_t hidden = 4;

/// Without any help of the rank's own to what is under way.
bool comes_true(const std::atomic<bool>& flag) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!flag && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  return flag;
}

void copy_rows(std::span<const Row> rows) {
  for (const Row& row : rows) std::copy_n(row.input, hidden * sizeof(float), row.output);
}

/// Two nodes of two ranks, two experts on each rank, with a token here and there: rank 0's is for rank 3, and
/// goes by way of rank 2, which is told what to do in the meantime.
class Relayed {
 public:
  using Act = std::function<void(MoeLayer&, LayerStep&, Engine&)>;

  /// `num_tokens` of rank 2's are for its own experts.
  Relayed(std::size_t num_tokens, Act act) : num_tokens_(num_tokens), act_(std::move(act)) {}

  void run(const std::function<void(ExpertId)>& on_rank_2 = {}) {
    const Topology topology({0, 0, 1, 1});
    ASSERT_EQ(two_level::relay_of(topology, Rank{0}, Rank{3}), Rank{2});
    run_ranks(topology, test::patience, [&](Communicator& communicator) { run_on(communicator, on_rank_2); });
  }

  std::array<std::atomic<bool>, 4> is_started{};
  std::array<std::atomic<bool>, 4> is_finished{};

 private:
  void run_on(Communicator& communicator, const std::function<void(ExpertId)>& on_rank_2) {
    const Rank rank = communicator.rank();
    EngineOptions options;
    options.exchange.path = PathRequest::two_level;
    Engine engine(communicator, loopback_backend(), options);
    const LayerSpec spec{{hidden, 8}, 8, {1, true}};
    MoeLayer layer(engine, spec, contiguous_placement(8, 4), [&](ExpertId expert, std::span<const Row> rows) {
      if (rank == Rank{2} && on_rank_2) on_rank_2(expert);
      copy_rows(rows);
    });
    test::OwnedRouting routing{0, 1, {}, {}};
    if (rank == Rank{0}) routing = {1, 1, {ExpertId{6}}, {1.0F}};
    for (std::size_t t = 0; rank == Rank{2} && t < num_tokens_; ++t) {
      ++routing.num_tokens;
      routing.experts.push_back(ExpertId{4 + static_cast<int>(t)});
      routing.weights.push_back(1.0F);
    }
    const std::vector<float> x(routing.num_tokens * hidden, 3.0F);
    std::vector<float> y(x.size());
    LayerStep step = layer.start(x, routing, y);
    is_started[index(rank)] = true;
    if (rank == Rank{2} && act_) act_(layer, step, engine);
    layer.finish(step);
    is_finished[index(rank)] = true;
    EXPECT_EQ(y, x);
  }

  std::size_t num_tokens_;
  Act act_;
};

TEST(Progress, ARelayPassesOnWithoutFinishingItsOwnStep) {
  Relayed* world = nullptr;
  Relayed relayed(0, [&](MoeLayer&, LayerStep&, Engine& engine) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!world->is_finished[0] && std::chrono::steady_clock::now() < deadline) engine.progress();
    EXPECT_TRUE(world->is_finished[0]);
  });
  world = &relayed;
  relayed.run();
}

TEST(Progress, ARelayPassesOnBetweenThePiecesOfWhatItComputes) {
  Relayed relayed(2, {});
  relayed.run([&](ExpertId expert) {
    if (expert == ExpertId{4}) {
      for (const auto& flag : relayed.is_started) EXPECT_TRUE(comes_true(flag));
    } else {
      EXPECT_TRUE(comes_true(relayed.is_finished[3]));  // with the row that came between the two experts
    }
  });
}

/// Counts what is received.
class CountingTransport : public MessageTransport {
 public:
  CountingTransport(std::unique_ptr<MessageTransport> transport, std::size_t& num_receives)
      : transport_(std::move(transport)), num_receives_(num_receives) {}

  Request post_send(Rank to, Tag tag, std::span<const std::byte> bytes) override {
    return transport_->post_send(to, tag, bytes);
  }
  Request post_recv(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes) override {
    ++num_receives_;
    return transport_->post_recv(from, tag, bytes);
  }
  void progress() override { transport_->progress(); }

 private:
  std::unique_ptr<MessageTransport> transport_;
  std::size_t& num_receives_;
};

/// Receives that rank 1 posts for rank 0's rows when it has started a step, does not finish it, and is told
/// to let it move on.
std::size_t receives_of_progress(std::size_t num_tokens_of_0) {
  std::size_t result = 0;
  std::atomic<bool> is_sent{false};
  run_ranks(2, test::patience, [&](Communicator& communicator) {
    std::size_t num_receives = 0;
    Backend backend = loopback_backend();
    backend.make_transport = [&, make = backend.make_transport](Communicator& c) {
      return std::make_unique<CountingTransport>(make(c), num_receives);
    };
    EngineOptions options;
    options.exchange.path = PathRequest::message;
    Engine engine(communicator, backend, options);
    MoeLayer layer(engine, {{hidden, 8}, 2, {1, true}}, contiguous_placement(2, 2),
                   [](ExpertId, std::span<const Row> rows) { copy_rows(rows); });
    const std::size_t num_tokens = communicator.rank() == Rank{0} ? num_tokens_of_0 : 0;
    const test::OwnedRouting routing{num_tokens, 1, std::vector(num_tokens, ExpertId{1}),
                                     std::vector(num_tokens, 1.0F)};
    const std::vector<float> x(num_tokens * hidden, 2.0F);
    std::vector<float> y(x.size());
    engine.progress();  // nothing is under way
    LayerStep step = layer.start(x, routing, y);
    if (communicator.rank() == Rank{0}) {
      is_sent = true;
    } else {
      EXPECT_TRUE(comes_true(is_sent));
      const std::size_t before = num_receives;
      for (int time = 0; time < 3; ++time) engine.progress();
      result = num_receives - before;
    }
    layer.finish(step);
    EXPECT_EQ(y, x);
    const std::size_t after = num_receives;
    engine.progress();
    EXPECT_EQ(num_receives, after);
  });
  return result;
}

TEST(Progress, PostsTheReceivesOfWhatIsAnnounced) {
  const std::size_t long_manifest = Announcement{}.manifest.size() + 1;
  EXPECT_EQ(receives_of_progress(3), 2U);              // rows and the next announcement
  EXPECT_EQ(receives_of_progress(long_manifest), 3U);  // and the manifest
}

TEST(Progress, PiecesAreCalledBetweenOnTheThreadThatBegan) {
  MemoryMeter meter;
  Workspace workspace(meter, 3);
  int calls = 0;
  workspace.set_meanwhile([&] { ++calls; });
  for (std::size_t thread = 0; thread < 3; ++thread) {
    if (const Meanwhile& meanwhile = workspace.meanwhile_of(thread)) meanwhile();
  }
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace moewe
