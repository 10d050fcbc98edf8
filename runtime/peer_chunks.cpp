#include "runtime/peer_chunks.hpp"

#include <algorithm>
#include <utility>

#include "comm/error.hpp"

namespace moewe {
namespace {

/// What a place's flag says. Grows with the chunk's number, and is not 0.
struct Label {
  std::uint64_t number;
  Rank to;

  static constexpr unsigned rank_bits = 16;

  std::uint64_t packed() const { return (number + 1) << rank_bits | index(to); }
  static Label unpacked(std::uint64_t flag) {
    constexpr std::uint64_t rank_mask = (std::uint64_t{1} << rank_bits) - 1;
    return {(flag >> rank_bits) - 1, rank_at(flag & rank_mask)};
  }
};

}  // namespace

PeerChunks::PeerChunks(Rank self, const Topology& topology, std::unique_ptr<PeerMemory> memory,
                       std::size_t num_places, std::size_t place_bytes)
    : self_(self), memory_(std::move(memory)), num_places_(num_places), place_bytes_(place_bytes) {
  expects(topology.num_ranks() < std::size_t{1} << Label::rank_bits, "a label has room for every rank");
  memory_->grow(num_places * place_bytes);
  std::fill_n(memory_->own(), num_places * place_bytes, std::byte{0});
  for (const Rank peer : topology.node_ranks(self)) {
    if (peer != self && memory_->reaches(peer)) sources_.push_back({peer});
  }
}

bool PeerChunks::reaches(Rank peer) const { return peer != self_ && memory_->reaches(peer); }

void PeerChunks::post(std::uint64_t number, Rank to) {
  memory_->publish(number % num_places_, Label{number, to}.packed());
}

bool PeerChunks::is_taken(std::uint64_t number, Rank by) const {
  return memory_->published(by, taken_flag(self_)) > number;
}

bool PeerChunks::take(const std::function<bool(Rank, std::span<const std::byte>)>& take) {
  return std::all_of(sources_.begin(), sources_.end(),
                     [&](Source& source) { return take_from(source, take); });
}

/// A chunk with a higher number than the next in its place has overwritten it, and was let to: it was for
/// somebody else, as were all that have been overwritten since.
bool PeerChunks::take_from(Source& source,
                           const std::function<bool(Rank, std::span<const std::byte>)>& take) {
  while (true) {
    const std::size_t place = source.next % num_places_;
    const std::uint64_t flag = memory_->published(source.rank, place);
    if (flag >> Label::rank_bits <= source.next) return true;
    const Label label = Label::unpacked(flag);
    if (label.number == source.next) {
      const std::span bytes(memory_->of(source.rank) + place * place_bytes_, place_bytes_);
      if (label.to == self_ && !take(source.rank, bytes)) return false;
      ++source.next;
    } else {
      source.next = label.number - num_places_ + 1;
    }
    memory_->publish(taken_flag(source.rank), source.next);
  }
}

}  // namespace moewe
