#pragma once

#include <memory>
#include <mpi.h>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/mpi/mixed_reduction.hpp"

namespace moewe {

/// Owns an MPI communicator whose errors are returned, not fatal.
class MpiHandle {
 public:
  MpiHandle() = default;
  explicit MpiHandle(MPI_Comm owned);
  ~MpiHandle();
  MpiHandle(MpiHandle&& other) noexcept;
  MpiHandle& operator=(MpiHandle&& other) noexcept;

  MPI_Comm get() const { return comm_; }

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
};

/// Collectives over MPI. Every one is MPI's non-blocking form, so that the deadline holds.
class MpiCommunicator : public Communicator {
 public:
  /// Collective: learns which ranks share a node.
  MpiCommunicator(MpiHandle comm, const Waiter& waiter);

  Rank rank() const override { return rank_; }
  const Topology& topology() const override { return topology_; }
  const Waiter& waiter() const override { return waiter_; }

  void all_reduce(const Reduction& values) override;
  void exclusive_scan(std::span<std::int64_t> values) override;
  void broadcast(std::span<std::byte> bytes, Rank root) override;
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override;
  std::vector<std::byte> gather(std::span<const std::byte> mine, Rank root) override;
  std::unique_ptr<Communicator> child() override;

  MPI_Comm native() const { return comm_.get(); }

  /// Waits for a request of any call on this communicator. `what` names it should the deadline pass.
  static void wait(MPI_Request request, const Waiter& waiter, std::string_view what);

 private:
  MpiHandle comm_;
  MixedOperation reduction_;
  Rank rank_{};
  Waiter waiter_;
  Topology topology_;
};

/// Collective.
MpiHandle duplicate(MPI_Comm comm, const Waiter& waiter);

}  // namespace moewe
