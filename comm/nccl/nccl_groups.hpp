#pragma once

#include <memory>
#include <nccl.h>

#include "comm/communicator.hpp"
#include "comm/cuda/cuda_queue.hpp"
#include "comm/grouped/group_carrier.hpp"

namespace moewe {

/// Groups of messages as one ncclSend or ncclRecv for each, between ncclGroupStart and ncclGroupEnd. NCCL's
/// communicator does not block: what it has begun, and whatever fails in it later, is_started() asks for.
class NcclGroups : public GroupCarrier {
 public:
  /// Collective: NCCL's communicator is made of ours, whose timeout bounds that. The rank's GPU is the
  /// device. Throws a shared Error(communication), also where two ranks have the same GPU, which NCCL before
  /// 2.30 refuses.
  static std::unique_ptr<NcclGroups> make(Communicator& communicator, int device);

  /// Where nothing has failed, waits for the other ranks' ends, up to the timeout.
  ~NcclGroups() override;
  NcclGroups(const NcclGroups&) = delete;
  NcclGroups& operator=(const NcclGroups&) = delete;

  void start(const MessageGroup& group) override;
  bool is_started() override;
  Queue& queue() override { return queue_; }
  void abort() noexcept override;

 private:
  NcclGroups(const Waiter& waiter, int device) : waiter_(waiter.alone()), device_(device), queue_(device) {}
  void connect(const Communicator& communicator, const ncclUniqueId& id);
  void enqueue(const MessageGroup& group);

  Waiter waiter_;
  int device_;
  CudaQueue queue_;
  ncclComm_t communicator_ = nullptr;
};

}  // namespace moewe
