#include "comm/staged/staged_receiver.hpp"

#include <algorithm>
#include <utility>

namespace moewe {

std::shared_ptr<StagedReceiver::Message> StagedReceiver::post(std::optional<Rank> from, Tag tag,
                                                              std::span<std::byte> bytes) {
  auto message = std::make_shared<Message>();
  message->bytes = bytes;
  message->head_arrived =
      carriers_.heads.post_recv(from, tag, std::as_writable_bytes(std::span(&message->head, 1)));
  awaited_.push_back(message);
  return message;
}

void StagedReceiver::progress() {
  take_heads();
  move_pieces();
  grant_chunks();
  grants_.remove_if([](SentGrant& grant) { return grant.sent.is_done(); });
}

void StagedReceiver::take_heads() {
  awaited_.remove_if([&](const std::shared_ptr<Message>& message) {
    if (!message->head_arrived.is_done()) return false;
    message->source = message->head_arrived.source();
    begin(message);
    return true;
  });
}

void StagedReceiver::begin(const std::shared_ptr<Message>& message) {
  if (message->head.length > message->bytes.size()) {
    message->state = State::too_long;
    tell(*message, true);
  } else if (message->head.length == 0) {
    message->state = State::done;
  } else {
    message->state = State::arriving;
    wanting_.push_back(message);
  }
}

void StagedReceiver::grant_chunks() {
  while (!wanting_.empty()) {
    const auto chunk = staging_.take();
    if (!chunk) return;
    const std::shared_ptr<Message> message = wanting_.front();
    wanting_.pop_front();
    grant_chunk(message, *chunk);
    if (message->granted < message->head.length) wanting_.push_back(message);
  }
}

/// The chunk is posted before its sender hears of it.
void StagedReceiver::grant_chunk(const std::shared_ptr<Message>& message, const StagingChunks::Chunk& chunk) {
  const std::size_t length =
      std::min<std::size_t>(chunk.bytes.size(), message->head.length - message->granted);
  pieces_.push_back({message, message->bytes.subspan(message->granted, length), chunk,
                     carriers_.chunks.post_recv(message->source, chunk_tag, chunk.bytes.first(length))});
  message->granted += length;
  tell(*message, false);
}

void StagedReceiver::tell(const Message& message, bool is_refusal) {
  SentGrant& grant = grants_.emplace_back();
  grant.grant = {message.head.message, is_refusal ? 1U : 0U};
  grant.sent =
      carriers_.chunks.post_send(message.source, grant_tag, std::as_bytes(std::span(&grant.grant, 1)));
}

void StagedReceiver::move_pieces() {
  pieces_.remove_if([&](Piece& piece) { return has_left(piece); });
}

/// Whether nothing more is to be done about the piece.
bool StagedReceiver::has_left(Piece& piece) {
  Message& message = *piece.message;
  if (!piece.is_copying) {
    if (!piece.arrived.is_done()) return false;
    if (!message.is_given_up) {
      staging_.copy_out(piece.chunk, piece.bytes);
      piece.is_copying = true;
      ++message.num_copying;
      return false;
    }
  } else {
    if (!staging_.is_copied(piece.chunk)) return false;
    --message.num_copying;
    message.copied += piece.bytes.size();
    if (message.copied == message.head.length) message.state = State::done;
  }
  staging_.give_back(piece.chunk);
  return true;
}

void StagedReceiver::give_up(Message& message, const Waiter& waiter) {
  if (message.state == State::awaited) take_heads();  // a head that has come is answered
  message.is_given_up = true;
  if (message.state == State::awaited) {
    awaited_.remove_if([&](const auto& awaited) { return awaited.get() == &message; });
  } else if (message.state == State::arriving) {
    if (message.granted < message.head.length) tell(message, true);
    std::erase_if(wanting_, [&](const auto& wanting) { return wanting.get() == &message; });
    const auto is_quiet = [&] {
      move_pieces();
      return message.num_copying == 0;
    };
    waiter.until(is_quiet, {"copies of a message that is given up"});
  }
}

void StagedReceiver::drop_requests() {
  for (const auto& message : awaited_) message->head_arrived = {};
  for (Piece& piece : pieces_) piece.arrived = {};
  for (SentGrant& grant : grants_) grant.sent = {};
}

}  // namespace moewe
