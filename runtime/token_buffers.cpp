#include "runtime/token_buffers.hpp"

#include <fmt/format.h>
#include <functional>

#include "comm/error.hpp"
#include "comm/together.hpp"

namespace moewe {

std::span<std::byte> TokenBuffers::add(Communicator& communicator, const Backend& backend,
                                       std::size_t bytes) {
  TokenBuffer buffer;
  buffer.shared = backend.make_peer_memory(communicator, meter_, 0).memory;
  together(communicator, [&] {
    if (buffer.shared) {
      buffer.shared->grow(bytes);
      buffer.bytes = {buffer.shared->own(), bytes};
    } else {
      buffer.plain = Buffer(meter_, meter_name, bytes);
      buffer.bytes = buffer.plain.as<std::byte>(bytes);
    }
  });
  buffers_.push_back(std::move(buffer));
  return buffers_.back().bytes;
}

std::optional<TokenPlace> TokenBuffers::find(std::span<const std::byte> tokens) const {
  constexpr std::less_equal<const std::byte*> no_later;
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    const std::span<const std::byte> bytes = buffers_[i].bytes;
    if (!buffers_[i].shared || tokens.empty()) continue;
    if (!no_later(bytes.data(), tokens.data())) continue;
    if (!no_later(tokens.data() + tokens.size(), bytes.data() + bytes.size())) continue;
    return TokenPlace{i, static_cast<std::uint64_t>(tokens.data() - bytes.data())};
  }
  return std::nullopt;
}

const std::byte* TokenBuffers::of(Rank peer, const TokenPlace& place) const {
  if (place.buffer >= buffers_.size() || !buffers_[place.buffer].shared) {
    throw Error(ErrorKind::verification, fmt::format("rank {} has its tokens in buffer {} of {}",
                                                     number(peer), place.buffer, buffers_.size()));
  }
  return buffers_[place.buffer].shared->of(peer) + place.offset;
}

}  // namespace moewe
