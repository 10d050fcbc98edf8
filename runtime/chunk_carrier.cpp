#include "runtime/chunk_carrier.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "comm/error.hpp"
#include "comm/together.hpp"

namespace moewe {

std::size_t ChunkCarrier::memory_bytes(std::size_t num_ranks) {
  return PeerMemory::bytes_beside(PeerChunks::flags_needed(window, num_ranks)) + 2 * window * message_bytes;
}

ChunkCarrier::ChunkCarrier(Communicator& communicator, const Backend& backend, MemoryMeter& meter)
    : communicator_(communicator.child()), shared_meter_(meter, meter_name) {
  const std::size_t num_flags = PeerChunks::flags_needed(window, communicator_->size());
  PeerMemoryOffer offer = backend.make_peer_memory(*communicator_, shared_meter_, num_flags);
  together(*communicator_, [&] { make_memory(std::move(offer), meter); });
  transport_ = backend.make_transport(*communicator_);
}

/// What is planned for peer memory is taken where there is none as well, so that the sum is the same.
void ChunkCarrier::make_memory(PeerMemoryOffer offer, MemoryMeter& meter) {
  constexpr std::size_t window_bytes = window * message_bytes;
  if (offer.memory) {
    shared_ = std::make_unique<PeerChunks>(communicator_->rank(), communicator_->topology(),
                                           std::move(offer.memory), window, message_bytes);
  }
  memory_ = Buffer(meter, meter_name, shared_ ? window_bytes : memory_bytes(communicator_->size()));
  const std::span<std::byte> own = memory_.as<std::byte>(memory_.size());
  std::fill(own.begin(), own.end(), std::byte{0});
  const std::span<std::byte> out = shared_ ? shared_->places() : own.last(window_bytes);
  for (std::size_t i = 0; i < window; ++i) {
    outgoing_.push_back({out.subspan(i * message_bytes, message_bytes)});
    incoming_.push_back({own.subspan(i * message_bytes, message_bytes)});
  }
}

bool ChunkCarrier::is_free(Outgoing& place) {
  if (!place.is_under_way) return true;
  return place.reader ? shared_->is_taken(place.number, *place.reader) : place.request.is_done();
}

std::span<std::byte> ChunkCarrier::room_to_send() {
  Outgoing& place = outgoing_[num_sent_ % window];
  has_room_ = is_free(place);
  return has_room_ ? place.bytes.subspan(sizeof(ChunkHeader)) : std::span<std::byte>();
}

void ChunkCarrier::send(Rank to, const ChunkHeader& header, PathRequest path) {
  expects(has_room_ && header.length <= most_payload, "a chunk is written before it is sent");
  const bool is_direct = reaches(to) && path != PathRequest::message;
  Outgoing& place = outgoing_[num_sent_ % window];
  std::memcpy(place.bytes.data(), &header, sizeof header);
  place.reader = is_direct ? std::optional(to) : std::nullopt;
  place.number = num_sent_++;
  place.is_under_way = true;
  has_room_ = false;
  if (shared_) shared_->post(place.number, is_direct ? to : communicator_->rank());
  if (!is_direct)
    place.request = transport_->post_send(to, tag, place.bytes.first(sizeof header + header.length));
}

void ChunkCarrier::expect(std::size_t num_chunks) {
  const std::size_t wanted = expects_leftovers_ ? window : std::min(num_chunks, window);
  while (num_posted_ < wanted) {
    Incoming& place = incoming_[(first_posted_ + num_posted_) % window];
    place.request = transport_->post_recv(std::nullopt, tag, place.bytes);
    ++num_posted_;
  }
}

void ChunkCarrier::take_arrived(const std::function<bool(const Arrived&)>& take) {
  const auto hand_over = [&](Rank from, std::span<const std::byte> place) {
    Arrived arrived{from, {}, place.subspan(sizeof(ChunkHeader))};
    std::memcpy(&arrived.header, place.data(), sizeof(ChunkHeader));
    return take(arrived);
  };
  if (shared_ && !shared_->take(hand_over)) return;
  transport_->progress();
  while (num_posted_ > 0 && incoming_[first_posted_].request.is_done()) {
    Incoming& place = incoming_[first_posted_];
    if (!hand_over(place.request.source(), place.bytes)) return;
    first_posted_ = (first_posted_ + 1) % window;
    --num_posted_;
  }
}

void ChunkCarrier::require_free() const {
  if (!turn_.expired()) throw InvalidInput("a layer of the engine is migrating already; one does at a time");
}

std::shared_ptr<const ChunkCarrier::Turn> ChunkCarrier::take_turn(std::function<void()> progress) {
  require_free();
  auto turn = std::make_shared<const Turn>(Turn{++num_turns_, std::move(progress)});
  turn_ = turn;
  return turn;
}

void ChunkCarrier::progress() {
  if (const auto turn = turn_.lock()) turn->progress();
}

}  // namespace moewe
