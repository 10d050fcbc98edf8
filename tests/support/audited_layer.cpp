#include "tests/support/audited_layer.hpp"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <mutex>
#include <random>

#include "comm/error.hpp"
#include "comm/loopback/run_ranks.hpp"

namespace moewe::test {
namespace {

constexpr std::chrono::minutes patience{10};  // which nothing needs, even where all is stopped for a while

/// One rank's part.
class RankRun {
 public:
  RankRun(Communicator& communicator, const Way& way, FaultInjector& injector)
      : communicator_(communicator), way_(way), injector_(injector) {}

  void run_steps(std::vector<float>& outputs) {
    Engine engine(communicator_, faulty(loopback_backend(), injector_), way_.options);
    LayerOptions options;
    options.dtype = way_.dtype;
    options.combine = way_.combine;
    const LayerSpec spec{{hidden, 8}, num_experts, {top_k, true}};
    MoeLayer layer(
        engine, spec, contiguous_placement(num_experts, num_ranks),
        [&](ExpertId expert, std::span<const Row> rows) {
          for (const Row& row : rows) {
            turn_row(expert, row.input, way_.row_bytes(), row.output);
            injector_.add_unsealed(communicator_.rank(), {row.output, way_.row_bytes()});
          }
        },
        options);
    for (std::size_t step = 1; step <= num_steps; ++step) {
      injector_.enter_step(communicator_.rank(), step);
      run_step(layer, step, outputs);
      EXPECT_EQ(engine.lane().held().by_name(), engine.lane().planned().by_name());
    }
  }

 private:
  void run_step(MoeLayer& layer, std::size_t step, std::vector<float>& outputs) {
    const std::vector<ExpertId> experts = experts_of(communicator_.rank());
    const std::vector<float> weights = weights_of_choices();
    const std::vector<std::byte> x = rows_of(communicator_.rank(), step, way_.dtype);
    std::vector<float> y(tokens_of_rank * hidden, -1.0F);
    layer.forward({x, way_.dtype}, Routing{tokens_of_rank, top_k, experts, weights, {}}, y);
    outputs.insert(outputs.end(), y.begin(), y.end());
  }

  Communicator& communicator_;
  const Way& way_;
  FaultInjector& injector_;
};

/// Shown as long as the rank takes part.
class Watched {
 public:
  Watched(Communicator& communicator, StallBoard& board)
      : communicator_(communicator), board_(board), watch_(board, communicator.rank(), communicator.size()) {
    communicator_.waiter().set_watch(&watch_);
  }
  ~Watched() { communicator_.waiter().set_watch(nullptr); }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

  /// Not where the rank fails by itself, of which the others learn in another way.
  void end() { board_.end(communicator_.rank()); }

 private:
  Communicator& communicator_;
  StallBoard& board_;
  StallWatch watch_;
};

}  // namespace

std::vector<Way> ways() {
  const Topology one_node({0, 0, 0, 0});
  EngineOptions direct, message, two_level, ring;
  for (EngineOptions* options : {&direct, &message, &two_level, &ring}) {
    options->verify = VerifyLevel::audit;
    options->lanes = 1;
    options->exchange.message_chunk_bytes = 300;
  }
  direct.exchange.path = PathRequest::direct;
  message.exchange.path = PathRequest::message;
  two_level.exchange.path = PathRequest::two_level;
  ring.exchange.path = PathRequest::direct;
  ring.exchange.flow = Flow{.chunk_tokens = 3, .ring_chunks = 2};
  std::vector<Way> all{{"direct", direct, one_node},
                       {"direct, ring", ring, one_node},
                       {"message", message, one_node},
                       {"two-level", two_level, Topology({0, 0, 1, 1})}};
  for (std::size_t i = 0, count = all.size(); i < count; ++i) {
    Way fast = all[i];
    fast.name += ", fast";
    fast.combine = Combine::fast;
    fast.dtype = Dtype::bf16;
    all.push_back(fast);
  }
  return all;
}

std::vector<std::byte> rows_of(Rank rank, std::size_t step, Dtype dtype) {
  std::mt19937 random(static_cast<unsigned>(index(rank) + step * num_ranks));
  std::normal_distribution<float> normal;
  std::vector<std::byte> rows(tokens_of_rank * hidden * bytes_of(dtype));
  for (std::size_t i = 0; i < tokens_of_rank * hidden; ++i) {
    const float value = normal(random);
    const Bf16 half = round_to_bf16(value);
    const void* const from = dtype == Dtype::f32 ? static_cast<const void*>(&value) : &half;
    std::memcpy(rows.data() + i * bytes_of(dtype), from, bytes_of(dtype));
  }
  return rows;
}

std::vector<ExpertId> experts_of(Rank rank) {
  std::vector<ExpertId> experts;
  for (std::size_t i = 0; i < tokens_of_rank * top_k; ++i)
    experts.push_back(expert_at((i * 5 + i / top_k + index(rank)) % num_experts));
  return experts;
}

std::vector<float> weights_of_choices() {
  std::vector<float> weights;
  for (std::size_t i = 0; i < tokens_of_rank * top_k; ++i)
    weights.push_back(1.0F / static_cast<float>(1 + i % 7));
  return weights;
}

void turn_row(ExpertId expert, const std::byte* row, std::size_t row_bytes, std::byte* to) {
  const std::size_t by = (1 + index(expert)) * row_bytes / hidden;
  std::memcpy(to, row + by, row_bytes - by);
  std::memcpy(to + row_bytes - by, row, by);
}

bool begins(const Outputs& outputs, const Outputs& all) {
  for (std::size_t rank = 0; rank < outputs.size(); ++rank) {
    if (outputs[rank].empty()) continue;
    if (outputs[rank].size() > all[rank].size()) return false;
    if (std::memcmp(outputs[rank].data(), all[rank].data(), outputs[rank].size() * sizeof(float)) != 0)
      return false;
  }
  return true;
}

Outcome run(const Way& way, FaultInjector& injector) {
  Outcome outcome;
  outcome.outputs.resize(num_ranks);
  std::mutex mutex;
  const auto fail = [&](Rank rank, const Error& error) {
    const std::lock_guard lock(mutex);
    outcome.failures.push_back({error.kind(), injector.step(rank), error.what()});
  };
  try {
    run_ranks(way.topology, patience, [&](Communicator& communicator) {
      const Rank rank = communicator.rank();
      Watched watched(communicator, injector.board());
      try {
        RankRun(communicator, way, injector).run_steps(outcome.outputs[index(rank)]);
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::peer_failed) fail(rank, error);
        if (!injector.board().is_stalled()) throw;  // else the others are to say what they lack, too
      }
      watched.end();
    });
  } catch (const Error&) {  // has been noted
  }
  return outcome;
}

}  // namespace moewe::test
