// What messages between devices keep beyond what all messages do.

#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <list>
#include <random>
#include <vector>

#include "comm/device_buffer.hpp"
#include "comm/device_peer_memory.hpp"
#include "comm/device_transport.hpp"
#include "comm/error.hpp"
#include "comm/nccl/nccl_transport.hpp"
#include "tests/support/device_side.hpp"
#include "tests/support/observed_transport.hpp"
#include "tests/support/odd_device.hpp"

namespace moewe {
namespace {

using test::Side;

constexpr Tag tag{7};
constexpr std::size_t chunk_bytes = 5000;
constexpr std::size_t num_chunks = 3;

DeviceTransportOptions with(DeviceCarriage carriage) { return {carriage, chunk_bytes, num_chunks}; }

void wait(Communicator& communicator, Request& request) {
  communicator.waiter().until([&] { return request.is_done(); }, {"a message"});
}

/// On every rank that has a device, with staged messages; and with others where the carrier knows the memory:
/// of emulated devices, whose memory every carrier carries, or of a GPU.
using Work = std::function<void(Communicator&, const Backend&, Side&, const DeviceTransportOptions&)>;

void on_every_device(const Work& work) {
  bool is_skipped = false;
  test::on_every_rank([&](Communicator& communicator, const Backend& backend) {
    for (const DeviceCarriage carriage : {DeviceCarriage::staged, DeviceCarriage::direct}) {
      Side side(communicator);
      const bool has_device = side.device != nullptr;
      if (!has_device && index(communicator.rank()) == 0) is_skipped = true;
      if (!has_device) return;
      const bool is_carried = side.device->is_emulated() || backend.reason_for_no_gpu_memory().empty();
      if (carriage == DeviceCarriage::direct && !is_carried) return;
      const ::testing::ScopedTrace trace(__FILE__, __LINE__, describe(carriage));
      work(communicator, backend, side, with(carriage));
    }
  });
  if (is_skipped) GTEST_SKIP() << "no GPU";
}

/// A message that both ends draw alike.
struct Drawn {
  Tag tag;
  std::size_t length;
  unsigned char value;
};

std::vector<Drawn> draw(std::size_t from, std::size_t to) {
  std::mt19937 random(static_cast<unsigned>(from * 100 + to));
  const auto below = [&](std::size_t end) { return random() % end; };
  std::vector<Drawn> messages(below(7));
  for (Drawn& message : messages) {
    message = {static_cast<Tag>(below(3)), below(4) == 0 ? below(3) : below(10 * chunk_bytes),
               static_cast<unsigned char>(below(256))};
  }
  return messages;
}

struct Received {
  DeviceBuffer bytes;
  Drawn drawn;
};

TEST(DeviceTransportContract, RandomMessagesArriveThroughFewChunks) {
  on_every_device([](Communicator& communicator, const Backend& backend, Side& side, const auto& options) {
    auto offer = make_device_transport(communicator, backend, *side.device, side.meter, options);
    DeviceTransport& transport = *offer.transport;
    const std::size_t pinned = offer.carriage == DeviceCarriage::staged ? 2 * num_chunks * chunk_bytes : 0;
    EXPECT_EQ(side.meter.bytes(), pinned);
    const auto queue = side.device->make_queue();
    const auto written = side.device->make_event();
    const std::size_t self = index(communicator.rank());
    std::list<DeviceBuffer> sent;
    std::list<Received> received;
    std::vector<Request> requests;
    for (std::size_t peer = 0; peer < communicator.size(); ++peer) {
      for (const Drawn& m : draw(self, peer)) {
        DeviceBuffer& bytes = sent.emplace_back(*side.device, side.meter, "sent", m.length + 1);
        queue->fill(bytes.data(), m.value, m.length);
        queue->record(*written);
        transport.wait_for(*written);
        requests.push_back(transport.post_send(rank_at(peer), m.tag, std::span(bytes.data(), m.length)));
      }
    }
    for (std::size_t peer = communicator.size(); peer-- > 0;) {
      auto messages = draw(peer, self);  // by tag, the last first
      std::stable_sort(messages.begin(), messages.end(),
                       [](const Drawn& a, const Drawn& b) { return a.tag > b.tag; });
      for (const Drawn& m : messages) {
        Received& room = received.emplace_back(
            Received{DeviceBuffer(*side.device, side.meter, "received", m.length + 9), m});
        requests.push_back(
            transport.post_recv(rank_at(peer), m.tag, std::span(room.bytes.data(), m.length + 9)));
      }
    }
    for (Request& request : requests) wait(communicator, request);
    for (const Received& message : received) {
      std::vector<unsigned char> seen(message.drawn.length);
      queue->copy(seen.data(), message.bytes.data(), seen.size());
      test::wait(communicator, *queue);
      EXPECT_EQ(seen, std::vector<unsigned char>(seen.size(), message.drawn.value));
    }
    requests.clear();
  });
}

TEST(DeviceTransportContract, NeitherReadsNorWritesBeforeTheEvent) {
  on_every_device([](Communicator& communicator, const Backend& backend, Side& side, const auto& options) {
    constexpr std::size_t length = 2 * chunk_bytes;
    auto flags = make_device_peer_memory(communicator, *side.device, side.meter, 1, 1);
    ASSERT_NE(flags.memory, nullptr) << flags.reason_for_none;
    auto offer = make_device_transport(communicator, backend, *side.device, side.meter, options);
    const auto queue = side.device->make_queue();
    const auto written = side.device->make_event();
    DeviceBuffer sent(*side.device, side.meter, "sent", length);
    DeviceBuffer received(*side.device, side.meter, "received", length);
    DeviceBuffer seen(*side.device, side.meter, "seen", 2 * length, MemoryKind::pinned);
    queue->fill(sent.data(), 1, length);
    queue->fill(received.data(), 2, length);
    test::wait(communicator, *queue);
    communicator.barrier();  // nobody allocates while queues wait for flags
    const std::size_t size = communicator.size(), self = index(communicator.rank());
    const Rank next = rank_at((self + 1) % size), previous = rank_at((self + size - 1) % size);
    std::array<Request, 4> requests;
    requests[0] = offer.transport->post_send(next, tag, std::span(sent.data(), length / 2));
    flags.memory->wait_for(*queue, communicator.rank(), 0, 1);
    queue->copy(seen.data(), received.data(), length);
    queue->fill(sent.data() + length / 2, 3, length / 2);
    queue->record(*written);
    offer.transport->wait_for(*written);
    requests[1] = offer.transport->post_recv(previous, tag, std::span(received.data(), length / 2));
    requests[2] = offer.transport->post_send(next, tag, std::span(sent.data() + length / 2, length / 2));
    requests[3] =
        offer.transport->post_recv(previous, tag, std::span(received.data() + length / 2, length / 2));
    const bool is_held_up = self == 0;
    if (!is_held_up) flags.memory->publish(0, 1);
    if (!is_held_up && offer.carriage == DeviceCarriage::staged) wait(communicator, requests[0]);
    communicator.barrier();  // what is for rank 0 has reached its chunks
    for (int polls = 0; is_held_up && polls < 50; ++polls) {
      for (const std::size_t later : {1U, 2U, 3U}) EXPECT_FALSE(requests[later].is_done());
    }
    if (is_held_up) flags.memory->publish(0, 1);
    for (Request& request : requests) wait(communicator, request);
    queue->copy(seen.data() + length, received.data(), length);
    test::wait(communicator, *queue);
    for (const auto& [from, value] : {std::pair{0U, 2}, {2U, 1}, {3U, 3}}) {
      const std::byte* const half = seen.data() + from * length / 2;
      EXPECT_EQ(std::count(half, half + length / 2, static_cast<std::byte>(value)), length / 2) << from;
    }
    communicator.barrier();
  });
}

TEST(DeviceTransportContract, WhatIsGivenUpOrTooLongTakesNoChunksAway) {
  on_every_device([](Communicator& communicator, const Backend& backend, Side& side, const auto& options) {
    if (communicator.size() == 1) return;  // Open MPI 4.1 cuts messages to oneself short
    constexpr std::size_t length = 20 * chunk_bytes;
    std::size_t granted = 0;
    const auto count = [&](const test::ObservedMessage& message) {
      granted += message.tag == Tag{0} ? 1U : 0U;
    };
    const Backend observed = test::observed(backend, count);
    auto offer = make_device_transport(communicator, observed, *side.device, side.meter, options);
    DeviceTransport& transport = *offer.transport;
    DeviceBuffer sent(*side.device, side.meter, "sent", length);
    DeviceBuffer received(*side.device, side.meter, "received", length);
    const std::size_t size = communicator.size(), self = index(communicator.rank());
    const Rank next = rank_at((self + 1) % size), previous = rank_at((self + size - 1) % size);
    const std::span<const std::byte> out(sent.data(), length);
    const std::span<std::byte> in(received.data(), length);
    std::vector<Request> sends;
    for (std::size_t i = 0; i < num_chunks + 1; ++i) {
      sends.push_back(transport.post_send(next, tag, out));
      Request too_short = transport.post_recv(previous, tag, in.first(chunk_bytes));
      EXPECT_THROW(wait(communicator, too_short), Error);
      if (offer.carriage == DeviceCarriage::direct) continue;  // may write into what is given up
      sends.push_back(transport.post_send(next, tag, out));
      Request given_up = transport.post_recv(previous, tag, in);
      const std::size_t before = granted;
      communicator.waiter().until([&] { return given_up.is_done() || granted > before; }, {"a grant"});
    }
    for (Request& send : sends) wait(communicator, send);
    Request last = transport.post_recv(previous, Tag{8}, in);
    Request send = transport.post_send(next, Tag{8}, out);
    wait(communicator, last);
    wait(communicator, send);
    communicator.barrier();
  });
}

TEST(DeviceTransportContract, SeveralChunksAreOnTheirWayAtATime) {
  test::on_every_rank([](Communicator& communicator, const Backend& backend) {
    Side side(communicator);
    if (!side.device) return;
    std::size_t granted = 0, sent = 0, most = 0;
    const auto count = [&](const test::ObservedMessage& message) {
      if (message.tag == Tag{0}) ++granted;
      if (message.tag == Tag{1}) ++sent;
      most = std::max(most, granted - sent);
    };
    auto offer = make_device_transport(communicator, test::observed(backend, count), *side.device, side.meter,
                                       with(DeviceCarriage::staged));
    constexpr std::size_t length = 10 * chunk_bytes;
    DeviceBuffer bytes(*side.device, side.meter, "both", 2 * length);
    const std::span<std::byte> all(bytes.data(), 2 * length);
    Request receive = offer.transport->post_recv(communicator.rank(), tag, all.first(length));
    Request send = offer.transport->post_send(communicator.rank(), tag, all.last(length));
    wait(communicator, receive);
    wait(communicator, send);
    EXPECT_EQ(granted, 10U);
    EXPECT_EQ(sent, 10U);
    EXPECT_EQ(most, num_chunks);
    communicator.barrier();
  });
}

/// Whether some rank computes on the GPU of another, which NCCL may refuse.
bool share_a_device(Communicator& communicator, const Device& device) {
  auto numbers = all_gather_values(communicator, device.number());
  std::sort(numbers.begin(), numbers.end());
  return std::adjacent_find(numbers.begin(), numbers.end()) != numbers.end();
}

/// By NCCL, where every rank has a GPU to itself.
TEST(DeviceTransportContract, GroupsOfNcclArrive) {
  bool has_run = false;
  test::on_every_rank([&](Communicator& communicator, const Backend& backend) {
    Side side(communicator);
    const bool is_first = communicator.rank() == Rank{0};
    if (!side.device || side.device->is_emulated() || !reason_for_no_nccl().empty()) return;
    DeviceTransportChoice choice;
    const bool is_shared = share_a_device(communicator, *side.device);
    try {
      choice =
          make_device_transport(communicator, backend, *side.device, side.meter, with(DeviceCarriage::nccl));
    } catch (const Error& error) {
      EXPECT_TRUE(is_shared) << error.what();
      return;
    }
    const auto queue = side.device->make_queue();
    const std::size_t size = communicator.size(), self = index(communicator.rank());
    DeviceBuffer sent(*side.device, side.meter, "sent", chunk_bytes);
    DeviceBuffer received(*side.device, side.meter, "received", size * chunk_bytes);
    std::vector<std::byte> seen(received.size());
    for (unsigned char round = 1; round <= 5; ++round) {
      queue->fill(sent.data(), static_cast<unsigned char>(round + self), chunk_bytes);
      test::wait(communicator, *queue);
      std::vector<Request> requests;
      for (std::size_t peer = 0; peer < size; ++peer) {
        const std::span<std::byte> room(received.data() + peer * chunk_bytes, chunk_bytes);
        requests.push_back(
            choice.transport->post_send(rank_at(peer), tag, std::span(sent.data(), chunk_bytes)));
        requests.push_back(choice.transport->post_recv(rank_at(peer), tag, room));
      }
      choice.transport->flush();
      for (Request& request : requests) wait(communicator, request);
      queue->copy(seen.data(), received.data(), seen.size());
      test::wait(communicator, *queue);
      for (std::size_t i = 0; i < seen.size(); ++i)
        ASSERT_EQ(seen[i], static_cast<std::byte>(round + i / chunk_bytes)) << i;
    }
    if (is_first) has_run = true;
    communicator.barrier();
  });
  if (!has_run) GTEST_SKIP() << "NCCL has not run. " << reason_for_no_nccl();
}

TEST(DeviceTransportContract, IsStagedOnAllRanksWhereOneCannotDoOtherwise) {
  test::on_every_rank([](Communicator& communicator, Backend backend) {
    Side side(communicator);
    if (!side.device || !side.device->is_emulated()) return;
    test::OddDevice gpu(*side.device, false, true);
    const bool is_last = index(communicator.rank()) + 1 == communicator.size();
    const auto chosen = [&](const char* reason, DeviceCarriage carriage) {
      backend.reason_for_no_gpu_memory = [&, reason] { return is_last ? reason : ""; };
      const auto choice = make_device_transport(communicator, backend, gpu, side.meter, {carriage});
      return describe(choice.carriage) + ": " + choice.reason;
    };
    const std::string last = "rank " + std::to_string(communicator.size() - 1) + ": ";
    EXPECT_EQ(chosen("no CUDA", DeviceCarriage::automatic),
              "staged through pinned chunks: " + last + "no CUDA");
    EXPECT_EQ(chosen("", DeviceCarriage::automatic),
              "directly: " + backend.carrier + " carries memory of devices");
    EXPECT_EQ(chosen("", DeviceCarriage::staged), "staged through pinned chunks: asked for");
    EXPECT_EQ(gpu.num_made_current, 1);  // for the one that was direct
    EXPECT_EQ(chosen("", DeviceCarriage::direct), "directly: asked for");
    EXPECT_EQ(gpu.num_made_current, 2);
    try {
      chosen("no CUDA", DeviceCarriage::direct);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
      EXPECT_EQ(error.scope(), ErrorScope::shared);
    }
  });
}

}  // namespace
}  // namespace moewe
