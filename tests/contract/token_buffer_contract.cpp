#include <algorithm>
#include <gtest/gtest.h>
#include <limits>

#include "tests/support/layer_runs.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe {
namespace {

using test::bf16_floats;
using test::make_layer;
using test::make_routing;
using test::on_every_exchange;
using test::OwnedRouting;
using test::part_of;
using test::RoutingCase;
using test::Share;
using test::share_of;
using test::StoredRows;

/// A rank's part of a case.
struct Part {
  Part(const RoutingCase& c, const Communicator& communicator)
      : share(share_of(c.num_tokens, communicator)),
        routing(make_routing(c, share.first, share.count)),
        rows(part_of(bf16_floats(c.num_tokens * c.spec.expert.hidden, 5), share, c.spec.expert.hidden),
             Dtype::bf16),
        num_values(share.count * c.spec.expert.hidden) {}

  std::span<const std::byte> bytes() const { return TokenRows(rows).bytes; }

  Share share;
  OwnedRouting routing;
  StoredRows rows;
  std::size_t num_values;
};

LayerOptions bf16_rows(Combine combine) {
  LayerOptions options;
  options.dtype = Dtype::bf16;
  options.combine = combine;
  return options;
}

std::vector<float> forward(MoeLayer& layer, std::span<const std::byte> x, const Part& part) {
  std::vector<float> y(part.num_values, std::numeric_limits<float>::quiet_NaN());
  layer.forward(TokenRows(x, Dtype::bf16), part.routing, y);
  return y;
}

TEST(TokenBufferContract, TokensInABufferHaveTheBitsOfTokensElsewhere) {
  constexpr std::size_t offset = 6;
  on_every_exchange([](Engine& engine) {
    std::size_t i = 0;
    for (const RoutingCase& c : test::routing_cases()) {
      const Part part(c, engine.communicator());
      MoeLayer layer = make_layer(engine, c.spec, bf16_rows(Combine::reproducible));
      const std::vector<float> expected = forward(layer, part.bytes(), part);
      const auto buffer = engine.add_token_buffer(offset + part.bytes().size()).subspan(offset);
      std::copy(part.bytes().begin(), part.bytes().end(), buffer.begin());
      EXPECT_EQ(forward(layer, buffer, part), expected) << c.name;
      std::fill(buffer.begin(), buffer.end(), std::byte{0});
      forward(layer, buffer, part);
      std::copy(part.bytes().begin(), part.bytes().end(), buffer.begin());
      EXPECT_EQ(forward(layer, buffer, part), expected) << c.name << ", again";
      if (++i == 3) break;  // of all exchanges, and each adds a buffer
    }
  });
}

TEST(TokenBufferContract, SomeRanksMayHaveTheirTokensElsewhere) {
  on_every_exchange([](Engine& engine) {
    const RoutingCase c = test::routing_cases().front();
    const Part part(c, engine.communicator());
    MoeLayer layer = make_layer(engine, c.spec, bf16_rows(Combine::fast));
    const std::vector<float> expected = forward(layer, part.bytes(), part);
    const bool is_mine = index(engine.communicator().rank()) % 2 == 0;
    const auto buffer = engine.add_token_buffer(is_mine ? part.bytes().size() : 0);
    if (is_mine) std::copy(part.bytes().begin(), part.bytes().end(), buffer.begin());
    EXPECT_EQ(forward(layer, is_mine ? buffer : part.bytes(), part), expected);
  });
}

TEST(TokenBufferContract, OnlyWhatLiesInOneBufferIsFound) {
  test::on_every_rank([](Communicator& communicator, const Backend& backend) {
    MemoryMeter meter;
    TokenBuffers buffers(meter);
    constexpr std::size_t length = 100;
    const std::span<const std::byte> first = buffers.add(communicator, backend, length);
    const std::span<const std::byte> second = buffers.add(communicator, backend, length);
    EXPECT_EQ(meter.bytes(), buffers.memory().bytes());
    if (!buffers.find(first)) return;  // on every rank: no shared memory here
    EXPECT_EQ(buffers.find(first.subspan(40, 60))->offset, 40U);
    EXPECT_EQ(buffers.find(second.first(1))->buffer, 1U);
    EXPECT_FALSE(buffers.find({first.data() + 1, length}));
    EXPECT_FALSE(buffers.find({first.data() - 1, 2}));
    EXPECT_FALSE(buffers.find({}));
    EXPECT_EQ(buffers.of(communicator.rank(), *buffers.find(second.subspan(7))), second.data() + 7);
    EXPECT_THROW(buffers.of(communicator.rank(), {2, 0}), Error);
    communicator.barrier();
  });
}

}  // namespace
}  // namespace moewe
