#include "comm/flag_board.hpp"

#include <atomic>
#include <cstring>
#include <unistd.h>

#include "comm/error.hpp"
#include "comm/shm/segment_peer_memory.hpp"

namespace moewe {
namespace {

constexpr std::size_t cache_line = 64;

std::size_t bytes_for(std::size_t num_flags) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return (cache_line * (1 + num_flags) + page - 1) / page * page;
}

}  // namespace

FlagBoard::FlagBoard(Device& device, std::size_t num_flags)
    : identity_(random_number()), segment_(create_memfd(), Segment::Access::write, bytes_for(num_flags)) {
  segment_.grow(bytes_for(num_flags));
  std::memcpy(segment_.data(), &identity_, sizeof identity_);
  shown_ = device.show_host_memory(segment_.data(), bytes_for(num_flags));
}

FlagBoard::FlagBoard(Device& device, std::size_t num_flags, const Address& address)
    : identity_(address.identity),
      segment_(open_memfd_of(address.process, address.file, FileAccess::write), Segment::Access::write,
               bytes_for(num_flags), bytes_for(num_flags)) {
  std::uint64_t found = 0;
  std::memcpy(&found, segment_.data(), sizeof found);
  if (found != identity_) throw Error(ErrorKind::communication, "the flags found for a rank are not its own");
  shown_ = device.show_host_memory(segment_.data(), bytes_for(num_flags));
}

FlagBoard::Address FlagBoard::address() const { return {getpid(), segment_.file(), identity_}; }

void FlagBoard::set(std::size_t flag, std::uint64_t value) {
  std::atomic_ref(*on_host(flag)).store(value, std::memory_order_release);
}

std::uint64_t FlagBoard::get(std::size_t flag) {
  return std::atomic_ref(*on_host(flag)).load(std::memory_order_acquire);
}

std::uint64_t* FlagBoard::flag_of(std::byte* board, std::size_t flag) {
  return reinterpret_cast<std::uint64_t*>(board + cache_line * (1 + flag));
}

}  // namespace moewe
