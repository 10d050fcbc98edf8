#include "comm/staged/staged_sender.hpp"

#include <algorithm>
#include <utility>

#include "comm/error.hpp"

namespace moewe {

StagedSender::StagedSender(StagingChunks& staging, const Carriers& carriers)
    : staging_(staging), carriers_(carriers) {
  post_grant();
}

std::shared_ptr<const StagedSender::Message> StagedSender::post(Rank to, Tag tag,
                                                                std::span<const std::byte> bytes) {
  auto message = std::make_shared<Message>();
  message->to = to;
  message->bytes = bytes;
  message->head = {num_posted_++, bytes.size()};
  messages_.emplace(message->head.message, message);
  message->head_sent = carriers_.heads.post_send(to, tag, std::as_bytes(std::span(&message->head, 1)));
  heads_under_way_.push_back(message);
  return message;
}

void StagedSender::progress() {
  take_grants();
  copy_granted();
  send_copied();
  release_sent();
  finish_heads();
}

void StagedSender::post_grant() {
  next_grant_ =
      carriers_.chunks.post_recv(std::nullopt, grant_tag, std::as_writable_bytes(std::span(&grant_, 1)));
}

void StagedSender::take_grants() {
  while (next_grant_.is_done()) {
    accept(grant_);
    post_grant();
  }
}

void StagedSender::accept(const StagedGrant& grant) {
  const auto found = messages_.find(grant.message);
  expects(found != messages_.end(), "a grant is for a message that is not done");
  const std::shared_ptr<Message> message = found->second;
  if (grant.is_refusal != 0) {
    message->is_refused = true;
    return finish(*message);
  }
  const std::size_t length = std::min(staging_.chunk_bytes(), message->bytes.size() - message->granted);
  granted_.push_back({message, message->bytes.subspan(message->granted, length)});
  message->granted += length;
}

void StagedSender::copy_granted() {
  while (!granted_.empty()) {
    const auto chunk = staging_.take();
    if (!chunk) return;
    Piece& piece = granted_.front();
    piece.chunk = *chunk;
    staging_.copy_in(piece.chunk, piece.bytes);
    copying_.push_back(std::move(piece));
    granted_.pop_front();
  }
}

void StagedSender::send_copied() {
  while (!copying_.empty() && staging_.is_copied(copying_.front().chunk)) {
    Piece& piece = copying_.front();
    piece.sent =
        carriers_.chunks.post_send(piece.message->to, chunk_tag, piece.chunk.bytes.first(piece.bytes.size()));
    sending_.push_back(std::move(piece));
    copying_.pop_front();
  }
}

void StagedSender::release_sent() {
  const auto is_sent = [&](Piece& piece) {
    if (!piece.sent.is_done()) return false;
    staging_.give_back(piece.chunk);
    piece.message->sent += piece.bytes.size();
    finish(*piece.message);
    return true;
  };
  std::erase_if(sending_, is_sent);
}

/// What follows of a message without bytes is nothing.
void StagedSender::finish_heads() {
  heads_under_way_.remove_if([&](const std::shared_ptr<Message>& message) {
    if (!message->head_sent.is_done()) return false;
    finish(*message);
    return true;
  });
}

void StagedSender::finish(Message& message) {
  const std::size_t wanted = message.is_refused ? message.granted : message.bytes.size();
  if (message.sent < wanted || message.is_done) return;
  message.is_done = true;
  messages_.erase(message.head.message);
}

void StagedSender::drop_requests() {
  next_grant_ = {};
  for (Piece& piece : sending_) piece.sent = {};
  for (const auto& message : heads_under_way_) message->head_sent = {};
}

}  // namespace moewe
