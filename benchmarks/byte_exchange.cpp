#include "benchmarks/byte_exchange.hpp"

#include <mpi.h>
#include <utility>

#include "comm/error.hpp"
#include "runtime/paths/transfer.hpp"

namespace moewe::bench {
namespace {

constexpr Tag tag{1};

/// The byte that fills what one rank sends to another.
std::byte mark(std::size_t from, std::size_t to) {
  return static_cast<std::byte>(1 + (from * 16 + to) % 255);
}

}  // namespace

ByteExchange::ByteExchange(const Communicator& communicator, std::size_t size)
    : communicator_(communicator), size_(size) {
  const std::size_t num_ranks = communicator.size();
  received_.resize(num_ranks * size);
  for (std::size_t to = 0; to < num_ranks; ++to) {
    sent_.insert(sent_.end(), size, mark(self(), to));
    counts_.push_back(to == self() ? 0 : static_cast<int>(size));
    offsets_.push_back(static_cast<int>(to * size));
  }
}

void ByteExchange::alltoallv() {
  const int code = MPI_Alltoallv(sent_.data(), counts_.data(), offsets_.data(), MPI_BYTE, received_.data(),
                                 counts_.data(), offsets_.data(), MPI_BYTE, MPI_COMM_WORLD);
  if (code != MPI_SUCCESS) throw Error(ErrorKind::communication, "MPI_Alltoallv failed");
}

void ByteExchange::messages(MessageTransport& transport, const ExchangeOptions& options) {
  const std::size_t num_ranks = communicator_.size();
  std::vector<Transfer> transfers;
  transfers.reserve(2 * num_ranks);
  const auto most = [&](Rank peer) {
    return options.chunk_bytes(communicator_.topology().share_node(communicator_.rank(), peer));
  };
  for (std::size_t step = 1; step < num_ranks; ++step) {
    const Rank from = rank_at((self() + step) % num_ranks);
    transfers.push_back(Transfer::receive(transport, from, tag, received_from(index(from)), most(from)));
  }
  for (std::size_t step = 1; step < num_ranks; ++step) {
    const Rank to = rank_at((self() + num_ranks - step) % num_ranks);
    const auto bytes = std::span<const std::byte>(sent_).subspan(index(to) * size_, size_);
    transfers.push_back(Transfer::send(transport, to, tag, bytes, most(to)));
  }
  for (Transfer& transfer : transfers) {
    communicator_.waiter().until([&] { return transfer.is_done(); }, {"bytes"});
  }
}

void ByteExchange::check() {
  for (std::size_t from = 0; from < communicator_.size(); ++from) {
    for (std::byte& byte : received_from(from)) {
      expects(from == self() || std::exchange(byte, std::byte{0}) == mark(from, self()),
              "what was received is what was sent");
    }
  }
}

}  // namespace moewe::bench
