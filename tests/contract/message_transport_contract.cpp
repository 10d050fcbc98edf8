#include <array>
#include <gtest/gtest.h>
#include <numeric>

#include "comm/error.hpp"
#include "tests/support/world.hpp"

namespace moewe {
namespace {

using test::on_every_rank;

constexpr Tag tag{7};

std::vector<std::byte> pattern(std::size_t length, std::size_t seed) {
  std::vector<std::byte> bytes(length);
  for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::byte>((i * 31 + seed * 17) & 0xFFU);
  return bytes;
}

void wait(const Communicator& communicator, Request& request) {
  communicator.waiter().until([&] { return request.is_done(); }, {"a message"});
}

TEST(MessageTransportContract, CarriesEveryLengthBetweenAllPairs) {
  on_every_rank([](Communicator& communicator, const Backend& backend) {
    const auto transport = backend.make_transport(communicator);
    for (const std::size_t length : {0U, 1U, 1000U, 300000U}) {
      const auto mine = pattern(length, index(communicator.rank()));
      std::vector<std::vector<std::byte>> received(communicator.size(), std::vector<std::byte>(length));
      std::vector<Request> requests;
      for (std::size_t peer = 0; peer < communicator.size(); ++peer) {
        requests.push_back(transport->post_recv(rank_at(peer), tag, received[peer]));
        requests.push_back(transport->post_send(rank_at(peer), tag, mine));
      }
      for (Request& request : requests) wait(communicator, request);
      for (std::size_t peer = 0; peer < communicator.size(); ++peer)
        EXPECT_EQ(received[peer], pattern(length, peer));
    }
  });
}

TEST(MessageTransportContract, KeepsTheOrderOfOneTagAndTellsTagsApart) {
  on_every_rank([](Communicator& communicator, const Backend& backend) {
    const auto transport = backend.make_transport(communicator);
    const std::size_t size = communicator.size();
    const Rank next = rank_at((index(communicator.rank()) + 1) % size);
    const Rank previous = rank_at((index(communicator.rank()) + size - 1) % size);
    const std::vector<int> sent{1, 2, 3, 100};
    std::vector<Request> requests;
    for (std::size_t i = 0; i < 3; ++i) {
      requests.push_back(transport->post_send(next, tag, std::as_bytes(std::span(&sent[i], 1))));
    }
    requests.push_back(transport->post_send(next, Tag{8}, std::as_bytes(std::span(&sent[3], 1))));
    std::vector<int> received(4);
    // the other tag first, though it was sent last
    requests.push_back(
        transport->post_recv(previous, Tag{8}, std::as_writable_bytes(std::span(&received[3], 1))));
    for (std::size_t i = 0; i < 3; ++i) {
      requests.push_back(
          transport->post_recv(previous, tag, std::as_writable_bytes(std::span(&received[i], 1))));
    }
    for (Request& request : requests) wait(communicator, request);
    EXPECT_EQ(received, sent);
  });
}

TEST(MessageTransportContract, ReceivesFromAnyRankAndSaysFromWhom) {
  on_every_rank([](Communicator& communicator, const Backend& backend) {
    const auto transport = backend.make_transport(communicator);
    const int mine = number(communicator.rank());
    Request send = transport->post_send(Rank{0}, tag, std::as_bytes(std::span(&mine, 1)));
    if (mine == 0) {
      std::vector<bool> seen(communicator.size(), false);
      for (std::size_t i = 0; i < communicator.size(); ++i) {
        int value = -1;
        Request receive =
            transport->post_recv(std::nullopt, tag, std::as_writable_bytes(std::span(&value, 1)));
        wait(communicator, receive);
        EXPECT_EQ(number(receive.source()), value);
        seen[index(receive.source())] = true;
      }
      EXPECT_EQ(seen, std::vector<bool>(communicator.size(), true));
    }
    wait(communicator, send);
    communicator.barrier();
  });
}

TEST(MessageTransportContract, AMessageLongerThanItsMemoryIsAnError) {
  on_every_rank([](Communicator& communicator, const Backend& backend) {
    // To another rank: Open MPI 4.1 cuts a message to oneself short without a word.
    if (communicator.size() == 1) return;
    const auto transport = backend.make_transport(communicator);
    const auto sent = pattern(64, 0);
    std::vector<std::byte> received(8);
    const std::size_t next = (index(communicator.rank()) + 1) % communicator.size();
    Request receive = transport->post_recv(std::nullopt, tag, received);
    Request send = transport->post_send(rank_at(next), tag, sent);
    EXPECT_THROW(wait(communicator, receive), Error);
    wait(communicator, send);
    communicator.barrier();
  });
}

TEST(MessageTransportContract, KeepsTheOrderOfShortAndLongMessages) {
  on_every_rank([](Communicator& communicator, const Backend& backend) {
    const auto transport = backend.make_transport(communicator);
    const std::size_t size = communicator.size();
    const std::size_t self = index(communicator.rank());
    std::vector<std::vector<std::byte>> sent, received;
    for (const std::size_t length : {400000U, 1U, 70000U, 0U, 9000U, 2U, 1000000U, 30U}) {
      sent.push_back(pattern(length, self + sent.size()));
      received.emplace_back(1000000);
    }
    std::vector<Request> requests;
    for (const auto& bytes : sent)
      requests.push_back(transport->post_send(rank_at((self + 1) % size), tag, bytes));
    communicator.barrier();
    for (auto& bytes : received)
      requests.push_back(transport->post_recv(rank_at((self + size - 1) % size), tag, bytes));
    for (Request& request : requests) wait(communicator, request);
    for (std::size_t i = 0; i < sent.size(); ++i) {
      received[i].resize(sent[i].size());
      EXPECT_EQ(received[i], pattern(sent[i].size(), (self + size - 1) % size + i)) << i;
    }
  });
}

TEST(MessageTransportContract, MessagesOfTwoTransportsDoNotMeet) {
  on_every_rank([](Communicator& communicator, const Backend& backend) {
    const auto first = backend.make_transport(communicator);
    const auto second = backend.make_transport(communicator);
    const Rank next = rank_at((index(communicator.rank()) + 1) % communicator.size());
    const std::vector<int> sent{1, 2};
    std::vector<int> received(2);
    const auto bytes = std::as_writable_bytes(std::span(received));
    const auto out = std::as_bytes(std::span(sent));
    std::vector<Request> requests;
    requests.push_back(first->post_recv(std::nullopt, tag, bytes.first(sizeof(int))));
    requests.push_back(second->post_recv(std::nullopt, tag, bytes.last(sizeof(int))));
    requests.push_back(second->post_send(next, tag, out.last(sizeof(int))));
    for (const std::size_t of_second : {1U, 2U}) wait(communicator, requests[of_second]);
    EXPECT_FALSE(requests[0].is_done());
    communicator.barrier();
    requests.push_back(first->post_send(next, tag, out.first(sizeof(int))));
    for (Request& request : requests) wait(communicator, request);
    EXPECT_EQ(received, sent);
  });
}

TEST(MessageTransportContract, EndsThoughSomeMessagesAreNeverTaken) {
  on_every_rank([](Communicator& communicator, const Backend& backend) {
    const std::vector<std::byte> bytes(300000);  // until the transport is destroyed
    const auto transport = backend.make_transport(communicator);
    const Rank next = rank_at((index(communicator.rank()) + 1) % communicator.size());
    for (const std::size_t length : {0U, 5U, 300000U})
      transport->post_send(next, tag, std::span(bytes).first(length));
  });
}

TEST(MessageTransportContract, NoMessageArrivesInThePlaceOfOneThatIsAbandoned) {
  on_every_rank([](Communicator& communicator, const Backend& backend) {
    const std::array sent{1, 2, 3, 4};  // until the transport is destroyed
    const auto transport = backend.make_transport(communicator);
    const auto bytes = std::as_bytes(std::span(sent));
    std::array<Request, 3> sends;
    for (std::size_t i = 0; i < sends.size(); ++i)
      sends[i] = transport->post_send(communicator.rank(), tag, bytes.subspan(i * sizeof(int), sizeof(int)));
    sends[1] = Request();  // but not the one after it
    Request of_another_tag = transport->post_send(communicator.rank(), Tag{8}, bytes.last(sizeof(int)));
    std::array received{0, 0, 0, 0};
    const auto into = [&](std::size_t i) { return std::as_writable_bytes(std::span(&received[i], 1)); };
    std::array receives{transport->post_recv(communicator.rank(), tag, into(0)),
                        transport->post_recv(communicator.rank(), tag, into(1)),
                        transport->post_recv(communicator.rank(), tag, into(2))};
    Request last = transport->post_recv(communicator.rank(), Tag{8}, into(3));
    for (Request* const request : {&sends[0], &receives[0], &of_another_tag, &last})
      wait(communicator, *request);
    EXPECT_EQ(received[0], 1);
    EXPECT_EQ(received[3], 4);
    for (const std::size_t i : {1U, 2U}) {
      if (receives[i].is_done()) {
        EXPECT_EQ(received[i], sent[i]);
      }
    }
    communicator.barrier();
  });
}

TEST(MessageTransportContract, AReceiveThatIsGivenUpTakesNoMessage) {
  on_every_rank([](Communicator& communicator, const Backend& backend) {
    const auto transport = backend.make_transport(communicator);
    int given_up = -1;
    {
      const Request forgotten =
          transport->post_recv(std::nullopt, tag, std::as_writable_bytes(std::span(&given_up, 1)));
    }
    const int sent = 5;
    int received = 0;
    Request receive =
        transport->post_recv(communicator.rank(), tag, std::as_writable_bytes(std::span(&received, 1)));
    Request send = transport->post_send(communicator.rank(), tag, std::as_bytes(std::span(&sent, 1)));
    wait(communicator, receive);
    wait(communicator, send);
    EXPECT_EQ(received, 5);
    EXPECT_EQ(given_up, -1);
    communicator.barrier();
  });
}

TEST(MessageTransportContract, AReceiveThatIsGivenUpWhileItArrivesWritesNoMore) {
  on_every_rank([](Communicator& communicator, const Backend& backend) {
    constexpr std::size_t length = std::size_t{8} << 20U;
    const std::vector<std::byte> sent(length, std::byte{1});  // until the transport is destroyed
    std::vector<std::byte> received(length);
    const auto transport = backend.make_transport(communicator);
    const std::size_t size = communicator.size(), self = index(communicator.rank());
    Request receive = transport->post_recv(rank_at((self + size - 1) % size), tag, received);
    Request send = transport->post_send(rank_at((self + 1) % size), tag, sent);
    const auto has_begun = [&] { return receive.is_done() || received[0] != std::byte{0}; };
    communicator.waiter().until(has_begun, {"a message to begin"});
    receive = Request();
    const std::vector<std::byte> then = received;
    for (int i = 0; i < 1000; ++i) send.is_done();  // which moves messages along
    communicator.barrier();
    EXPECT_TRUE(received == then);
  });
}

}  // namespace
}  // namespace moewe
