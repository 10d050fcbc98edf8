#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <ucp/api/ucp.h>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/ucx/ucx_context.hpp"
#include "comm/waiter.hpp"

namespace moewe {

/// One rank's end of a transport: a context, its one worker, and an endpoint for every rank, itself included.
/// Each transport has its own, so that nothing is shared between lanes or threads and no message of one can
/// meet a receive of another; a further context costs a millisecond, its worker ten.
///
/// Between nodes an endpoint notices that its peer is gone. Inside a node it does not, since what does would
/// keep UCX from using shared memory; there a waiter's deadline has to do.
class UcxWorker {
 public:
  /// `waiter` bounds all waits; nothing else is polled in them.
  UcxWorker(const Topology& topology, const Waiter& waiter);

  /// Drops what has not been sent.
  ~UcxWorker();
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;

  /// What the other ranks connect to.
  std::vector<std::byte> address() const;

  /// `addresses` are those of all ranks, in rank order. Throws Error(communication) that names a rank which
  /// cannot be reached.
  void connect(const Communicator& communicator, std::span<const std::vector<std::byte>> addresses);

  ucp_worker_h get() const { return worker_.get(); }
  ucp_ep_h endpoint(Rank rank) const { return endpoints_[index(rank)]; }

  /// Non-blocking. Moves all messages of this worker along.
  void progress() { ucp_worker_progress(worker_.get()); }

  /// Throws Error(communication) that names the rank once an endpoint has noticed that its peer is gone.
  void require_peers() const;

  /// Returns once everything that this rank sent has left it, apart from long messages that nobody takes.
  /// Throws Error(communication) and what a waiter throws.
  void flush();

  /// Ends when `ready` is true, moving messages along. Throws as a waiter does.
  template <typename Ready>
  void until(Ready&& ready, const WaitReason& reason) {
    waiter_.until(
        [&] {
          progress();
          return ready();
        },
        reason);
  }

 private:
  struct Cleanup {
    void operator()(ucp_worker_h worker) const { ucp_worker_destroy(worker); }
  };

  /// What an endpoint noticed first.
  struct Loss {
    ucp_ep_h endpoint;
    ucs_status_t status;
  };

  void finish(ucs_status_ptr_t operation, std::string_view what);
  void close(ucp_ep_h endpoint) noexcept;
  static void note_loss(void* worker, ucp_ep_h endpoint, ucs_status_t status);
  ucp_ep_h make_endpoint(std::span<const std::byte> address, bool is_watched);

  Waiter waiter_;
  std::vector<ucp_ep_h> endpoints_;  // by rank; they end with the worker
  std::vector<ucp_ep_h> watched_;    // those that notice when their peer is gone
  std::optional<Loss> loss_;
  UcxContext context_;
  std::unique_ptr<ucp_worker, Cleanup> worker_;
};

}  // namespace moewe
