#pragma once

#include <memory>
#include <vector>

#include "comm/peer_memory.hpp"
#include "tests/support/fault_injector.hpp"

namespace moewe::test {

/// Spoils what has been written into the own segment since the last publication, just before the next one,
/// or the publication.
class FaultyPeerMemory : public PeerMemory {
 public:
  FaultyPeerMemory(Carrier carrier, Rank self, std::unique_ptr<PeerMemory> memory, FaultInjector& injector)
      : carrier_(carrier), self_(self), memory_(std::move(memory)), injector_(injector) {}

  bool reaches(Rank peer) const override { return memory_->reaches(peer); }
  std::size_t num_flags() const override { return memory_->num_flags(); }
  std::byte* own() override { return memory_->own(); }
  void grow(std::size_t bytes) override;
  std::size_t bytes_for(std::size_t bytes) const override { return memory_->bytes_for(bytes); }
  const std::byte* of(Rank peer) const override { return memory_->of(peer); }
  void publish(std::size_t flag, std::uint64_t generation) override;
  std::uint64_t published(Rank peer, std::size_t flag) const override {
    return memory_->published(peer, flag);
  }

 private:
  using Bytes = std::vector<std::byte>;
  using Offsets = std::vector<std::size_t>;

  bool gives_back(std::size_t flag) const;
  Offsets find_written() const;
  void remember();
  void strike(const Place& place, const Offsets& written);

  Carrier carrier_;
  Rank self_;
  std::unique_ptr<PeerMemory> memory_;
  FaultInjector& injector_;
  std::size_t length_ = 0;
  Bytes last_;                 // the segment, as of the last publication
  std::optional<Place> lost_;  // a flag
  std::size_t step_lost_ = 0;  // in which it is
};

}  // namespace moewe::test
