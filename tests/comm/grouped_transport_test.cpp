#include "comm/grouped/grouped_transport.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>

#include "comm/error.hpp"
#include "comm/loopback/run_ranks.hpp"
#include "comm/nccl/nccl_transport.hpp"
#include "tests/support/emulated_groups.hpp"

namespace moewe {
namespace {

using test::EmulatedGroups;
using test::GroupWire;

constexpr std::chrono::seconds patience{20};
constexpr Tag tag{7};

/// A rank's end.
struct End {
  End(Communicator& communicator, GroupWire& wire)
      : device(choose_device(DeviceChoice::cpu, 0).device),
        transport(make_grouped_transport(communicator, *device,
                                         std::make_unique<EmulatedGroups>(wire, communicator.rank(), *device),
                                         loopback_backend().make_transport(communicator))) {}

  std::unique_ptr<Device> device;
  std::unique_ptr<DeviceTransport> transport;
};

using Work = std::function<void(Communicator&, DeviceTransport&, GroupWire&)>;

void on_ranks(std::size_t num_ranks, const Work& work) {
  GroupWire wire;
  run_ranks(num_ranks, patience, [&](Communicator& communicator) {
    End end(communicator, wire);
    work(communicator, *end.transport, wire);
  });
}

void wait(Communicator& communicator, Request& request) {
  communicator.waiter().until([&] { return request.is_done(); }, {"a message"});
}

ErrorKind kind_of_failure(Communicator& communicator, Request& request, std::string& text) {
  try {
    wait(communicator, request);
    ADD_FAILURE() << "nothing was thrown";
    return ErrorKind::internal;
  } catch (const Error& error) {
    text = error.what();
    return error.kind();
  }
}

struct Drawn {
  Tag tag;
  std::vector<std::byte> bytes;
};

/// What one rank sends to another in a group, which both draw alike.
std::vector<Drawn> draw(std::size_t from, std::size_t to, std::size_t group) {
  std::mt19937 random(static_cast<unsigned>((group * 10 + from) * 10 + to));
  std::vector<Drawn> messages(random() % 4);
  for (Drawn& message : messages) {
    message.tag = static_cast<Tag>(random() % 3);
    message.bytes.resize(random() % 3 == 0 ? 0 : random() % 3000);
    for (std::byte& byte : message.bytes) byte = static_cast<std::byte>(random() & 0xFFU);
  }
  return messages;
}

TEST(GroupedTransport, GroupsInFlightArriveWhateverTheOrderOfPosting) {
  constexpr std::size_t num_groups = 12;
  for (const std::size_t num_ranks : {1U, 2U, 5U}) {
    on_ranks(num_ranks, [&](Communicator& communicator, DeviceTransport& transport, GroupWire&) {
      const std::size_t self = index(communicator.rank());
      std::list<Drawn> sent, received, expected;
      std::vector<Request> requests;
      for (std::size_t group = 0; group < num_groups; ++group) {
        for (std::size_t peer = 0; peer < num_ranks; ++peer) {
          for (Drawn& message : draw(self, peer, group)) {
            const Drawn& kept = sent.emplace_back(std::move(message));
            requests.push_back(transport.post_send(rank_at(peer), kept.tag, kept.bytes));
          }
        }
        for (std::size_t peer = num_ranks; peer-- > 0;) {
          auto messages = draw(peer, self, group);
          std::stable_sort(messages.begin(), messages.end(),
                           [](const Drawn& a, const Drawn& b) { return a.tag > b.tag; });
          for (Drawn& message : messages) {
            Drawn& room = received.emplace_back(Drawn{message.tag, {}});
            room.bytes.resize(message.bytes.size());
            requests.push_back(transport.post_recv(rank_at(peer), room.tag, room.bytes));
            EXPECT_EQ(index(requests.back().source()), peer);
            expected.push_back(std::move(message));
          }
        }
        transport.flush();
      }
      for (Request& request : requests) wait(communicator, request);
      const auto is_same = [](const Drawn& a, const Drawn& b) { return a.bytes == b.bytes; };
      EXPECT_TRUE(std::equal(received.begin(), received.end(), expected.begin(), expected.end(), is_same));
    });
  }
}

TEST(GroupedTransport, StartsNothingBeforeItsPeersAreThere) {
  on_ranks(2, [](Communicator& communicator, DeviceTransport& transport, GroupWire& wire) {
    std::array<std::byte, 4> bytes{};
    const bool is_late = communicator.rank() == Rank{1};
    const Rank peer = rank_at(is_late ? 0 : 1);
    Request request;
    if (!is_late) {
      request = transport.post_send(peer, tag, bytes);
      transport.flush();
      for (int polls = 0; polls < 100; ++polls) EXPECT_FALSE(request.is_done());
      EXPECT_EQ(wire.num_started, 0U);
    }
    communicator.barrier();
    if (is_late) {
      request = transport.post_recv(peer, tag, bytes);
      transport.flush();
    }
    wait(communicator, request);
    communicator.barrier();
    EXPECT_EQ(wire.num_started, 2U);
    EXPECT_EQ(wire.num_aborted, 0U);
  });
}

TEST(GroupedTransport, OneSidedMessagesAreNamedOnBothSidesBeforeAnythingStarts) {
  on_ranks(2, [](Communicator& communicator, DeviceTransport& transport, GroupWire& wire) {
    std::array<std::byte, 4> bytes{};
    Request request;
    if (communicator.rank() == Rank{0}) {
      request = transport.post_send(Rank{1}, tag, bytes);
      transport.post_send(Rank{1}, tag, bytes);
    } else {
      request = transport.post_recv(Rank{0}, tag, bytes);
    }
    transport.flush();
    std::string text;
    EXPECT_EQ(kind_of_failure(communicator, request, text), ErrorKind::disagreement);
    EXPECT_EQ(
        text,
        "in a group of messages rank 0 sends 2 messages of 8 bytes to rank 1, which receives 1 messages "
        "of 4 bytes");
    EXPECT_EQ(wire.num_started, 0U);
  });
}

TEST(GroupedTransport, OtherLengthsAndOtherGroupsAreNamed) {
  const auto text_of = [](const Work& post) {
    std::string seen;
    on_ranks(2, [&](Communicator& communicator, DeviceTransport& transport, GroupWire& wire) {
      post(communicator, transport, wire);
      std::array<std::byte, 4> bytes{};
      Request request = communicator.rank() == Rank{0} ? transport.post_send(Rank{1}, tag, bytes)
                                                       : transport.post_recv(Rank{0}, tag, bytes);
      transport.flush();
      std::string text;
      EXPECT_EQ(kind_of_failure(communicator, request, text), ErrorKind::disagreement);
      if (communicator.rank() == Rank{0}) seen = text;
    });
    return seen;
  };
  std::array<std::byte, 3> more{};
  const auto other_tag = [&](Communicator& communicator, DeviceTransport& transport, GroupWire&) {
    if (communicator.rank() == Rank{0}) transport.post_send(Rank{1}, Tag{1}, more);
    if (communicator.rank() == Rank{1}) transport.post_recv(Rank{0}, Tag{2}, more);
  };
  const auto other_group = [](Communicator& communicator, DeviceTransport& transport, GroupWire&) {
    if (communicator.rank() == Rank{1}) transport.flush();
  };
  EXPECT_NE(text_of(other_tag).find("2 messages of 7 bytes, of other tags or lengths"), std::string::npos);
  EXPECT_EQ(text_of(other_group),
            "rank 0 exchanges messages with rank 1 in its group 0, and that with it in its group 1");
}

TEST(GroupedTransport, AFailureOfTheCarrierEndsAnyWaitAndAbortsItOnce) {
  GroupWire wire;
  run_ranks(2, patience, [&](Communicator& communicator) {
    const bool is_waiting = communicator.rank() == Rank{0};
    std::array<std::byte, 4> bytes{};
    {
      End end(communicator, wire);
      Request receive;
      if (is_waiting) {
        receive = end.transport->post_recv(Rank{1}, tag, bytes);
        end.transport->flush();
      }
      communicator.barrier();
      wire.has_failed = true;
      try {
        if (is_waiting) communicator.waiter().until([] { return false; }, {"something else"});
        EXPECT_FALSE(is_waiting) << "nothing was thrown";
      } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "the wire broke");
      }
      if (is_waiting) {
        EXPECT_THROW(receive.is_done(), Error);
      }
    }
    if (is_waiting) {
      EXPECT_EQ(wire.num_aborted, 1U);
    }
  });
}

TEST(GroupedTransport, AbortsWhatIsUnderWayWhenItEnds) {
  GroupWire wire;
  run_ranks(2, patience, [&](Communicator& communicator) {
    std::array<std::byte, 4> bytes{};
    {
      End end(communicator, wire);
      if (communicator.rank() == Rank{0}) {
        Request receive = end.transport->post_recv(Rank{1}, tag, bytes);
        end.transport->flush();
        const Waiter impatient(std::chrono::milliseconds(20));
        EXPECT_THROW(impatient.until([&] { return receive.is_done(); }, {"a message", Rank{1}}), Error);
      }
      communicator.barrier();
      EXPECT_EQ(wire.num_aborted, 0U);
      communicator.barrier();
    }
    communicator.barrier();
    EXPECT_EQ(wire.num_aborted, 1U);
  });
}

TEST(NcclTransport, IsLoadedOrSaysWhyNot) {
  EXPECT_EQ(reason_for_no_nccl().empty(), !nccl_version().empty());
  RecordProperty("reason", reason_for_no_nccl());
  if (reason_for_no_nccl().empty()) {
    EXPECT_EQ(nccl_version().substr(0, 2), "2.");
  }
}

TEST(NcclTransport, IsRefusedToEmulatedDevices) {
  run_ranks(2, patience, [](Communicator& communicator) {
    const auto device = choose_device(DeviceChoice::cpu, 0).device;
    MemoryMeter meter;
    try {
      make_device_transport(communicator, loopback_backend(), *device, meter, {DeviceCarriage::nccl});
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
      EXPECT_EQ(error.scope(), ErrorScope::shared);
    }
  });
}

}  // namespace
}  // namespace moewe
