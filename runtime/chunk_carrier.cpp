#include "runtime/chunk_carrier.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "comm/error.hpp"
#include "comm/together.hpp"

namespace moewe {

ChunkCarrier::ChunkCarrier(Communicator& communicator, const Backend& backend, MemoryMeter& meter)
    : communicator_(communicator.child()), outgoing_(window), incoming_(window) {
  together(communicator, [&] { memory_ = Buffer(meter, meter_name, memory_bytes()); });
  transport_ = backend.make_transport(*communicator_);
  std::span<std::byte> free = memory_.as<std::byte>(memory_.size());
  std::fill(free.begin(), free.end(), std::byte{0});
  for (std::vector<Place>* places : {&outgoing_, &incoming_}) {
    for (Place& place : *places) {
      place.bytes = free.first(message_bytes);
      free = free.subspan(message_bytes);
    }
  }
}

std::span<std::byte> ChunkCarrier::room_to_send() {
  for (Place& place : outgoing_) {
    if (place.is_under_way && !place.request.is_done()) continue;
    place.is_under_way = false;
    room_ = &place;
    return place.bytes.subspan(sizeof(ChunkHeader));
  }
  return {};
}

void ChunkCarrier::send(Rank to, const ChunkHeader& header) {
  expects(room_ != nullptr && header.length <= most_payload, "a chunk is written before it is sent");
  std::memcpy(room_->bytes.data(), &header, sizeof header);
  room_->request = transport_->post_send(to, tag, room_->bytes.first(sizeof header + header.length));
  room_->is_under_way = true;
  room_ = nullptr;
}

void ChunkCarrier::expect(std::size_t num_chunks) {
  const std::size_t wanted = expects_leftovers_ ? window : std::min(num_chunks, window);
  while (num_posted_ < wanted) {
    Place& place = incoming_[(first_posted_ + num_posted_) % window];
    place.request = transport_->post_recv(std::nullopt, tag, place.bytes);
    ++num_posted_;
  }
}

void ChunkCarrier::take_arrived(const std::function<bool(const Arrived&)>& take) {
  transport_->progress();
  while (num_posted_ > 0 && incoming_[first_posted_].request.is_done()) {
    Place& place = incoming_[first_posted_];
    Arrived arrived{place.request.source(), {}, place.bytes.subspan(sizeof(ChunkHeader))};
    std::memcpy(&arrived.header, place.bytes.data(), sizeof(ChunkHeader));
    if (!take(arrived)) return;
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
