#pragma once

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/error.hpp"
#include "comm/loopback/run_ranks.hpp"
#include "runtime/moe_layer.hpp"
#include "tests/support/generated_model.hpp"
#include "tests/support/world.hpp"

namespace moewe::test {

/// Of all generated weights.
inline constexpr std::uint64_t weights_seed = 11;

/// Those between ranks of several nodes.
inline std::vector<std::pair<std::string, EngineOptions>> exchanges_between_nodes() {
  EngineOptions two_level, mixed, whole;
  two_level.exchange.path = whole.exchange.path = PathRequest::two_level;
  mixed.exchange.path_between = [](Rank a, Rank b) {
    const bool is_even = (number(a) + number(b)) % 2 == 0;
    if (node_of(a) == node_of(b)) return is_even ? PathKind::message : PathKind::direct;
    return (node_of(a) + node_of(b)) % 2 == 0 ? PathKind::message : PathKind::two_level;
  };
  two_level.exchange.message_chunk_bytes = mixed.exchange.message_chunk_bytes = 300;
  EngineOptions audited = mixed;
  audited.verify = VerifyLevel::audit;
  return {{"two-level", two_level},
          {"two-level and others", mixed},
          {"two-level and others, audited", audited},
          {"two-level, whole", whole}};
}

/// The ways in which rows can travel, with chunks small enough that every case needs several.
inline std::vector<std::pair<std::string, EngineOptions>> exchanges() {
  if (has_nodes()) return exchanges_between_nodes();
  EngineOptions direct, message, mixed;
  direct.exchange.path = PathRequest::direct;
  message.exchange.path = PathRequest::message;
  mixed.exchange.path_between = [](Rank a, Rank b) {
    return (number(a) + number(b)) % 2 == 0 ? PathKind::message : PathKind::direct;
  };
  message.exchange.message_chunk_bytes = mixed.exchange.message_chunk_bytes = 300;
  EngineOptions ring = mixed;
  ring.exchange.flow = Flow{.chunk_tokens = 3,
                            .ring_chunks = 2,
                            .row_stores = Stores::streaming,
                            .output_stores = Stores::streaming};
  EngineOptions audited = ring;
  audited.verify = VerifyLevel::audit;
  return {{"direct", direct},
          {"message", message},
          {"mixed", mixed},
          {"mixed, ring", ring},
          {"mixed, ring, audited", audited}};
}

/// Some neighbouring tokens.
struct Share {
  std::size_t first = 0;
  std::size_t count = 0;
};

/// Unequal shares, so that ranks have different numbers of tokens, and some none.
inline std::size_t first_token(std::size_t num_tokens, std::size_t rank, std::size_t num_ranks) {
  return num_tokens * rank * rank / (num_ranks * num_ranks);
}

/// A rank's own among the tokens of all ranks.
inline Share share_of(std::size_t num_tokens, const Communicator& communicator) {
  const std::size_t rank = index(communicator.rank());
  const std::size_t first = first_token(num_tokens, rank, communicator.size());
  return {first, first_token(num_tokens, rank + 1, communicator.size()) - first};
}

/// The share's part of values that have `width` per token.
template <typename T>
std::vector<T> part_of(const std::vector<T>& values, const Share& share, std::size_t width) {
  const auto begin = values.begin() + static_cast<std::ptrdiff_t>(share.first * width);
  return {begin, begin + static_cast<std::ptrdiff_t>(share.count * width)};
}

/// Values that bf16 holds.
inline std::vector<float> bf16_floats(std::size_t count, std::uint64_t seed) {
  std::vector<float> values = random_floats(count, seed);
  for (float& value : values) value = widen(round_to_bf16(value));
  return values;
}

/// Rows in the type that a layer takes; owns them.
class StoredRows {
 public:
  StoredRows(const std::vector<float>& rows, Dtype dtype)
      : dtype_(dtype), bytes_(rows.size() * bytes_of(dtype)) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const Bf16 half = round_to_bf16(rows[i]);
      const void* value = dtype == Dtype::f32 ? static_cast<const void*>(&rows[i]) : &half;
      std::memcpy(bytes_.data() + i * bytes_of(dtype), value, bytes_of(dtype));
    }
  }

  operator TokenRows() const { return {bytes_, dtype_}; }  // NOLINT(google-explicit-constructor): a view

 private:
  Dtype dtype_;
  std::vector<std::byte> bytes_;
};

/// A layer with generated weights whose experts are split evenly.
inline MoeLayer make_layer(Engine& engine, const LayerSpec& spec, const LayerOptions& options = {}) {
  return MoeLayer(engine, spec, contiguous_placement(spec.num_experts, engine.communicator().size()),
                  GeneratedWeights(spec, weights_seed), options);
}

/// What a layer makes of these tokens.
inline std::vector<float> forward(MoeLayer& layer, const std::vector<float>& x, const Routing& routing) {
  std::vector<float> y(x.size(), std::numeric_limits<float>::quiet_NaN());
  layer.forward(StoredRows(x, layer.options().dtype), routing, y);
  return y;
}

/// Runs `work` with an engine of one rank.
template <typename Work>
void with_engine_of_one_rank(Work&& work) {
  run_ranks(1, patience, [&](Communicator& communicator) {
    Engine engine(communicator, loopback_backend(), {});
    work(engine);
  });
}

/// Runs `work(engine)` on every rank for each of exchanges().
template <typename Work>
void on_every_exchange(Work&& work) {
  for (const auto& [name, options] : exchanges()) {
    SCOPED_TRACE(name);
    on_every_rank([&](Communicator& communicator, const Backend& backend) {
      Engine engine(communicator, backend, options);
      work(engine);
    });
  }
}

/// Runs `step` and expects every rank to throw the same shared error whose text contains `part`.
template <typename Step>
void expect_shared_error(ErrorKind kind, const std::string& part, Step&& step) {
  try {
    step();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind);
    EXPECT_EQ(error.scope(), ErrorScope::shared);
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

}  // namespace moewe::test
