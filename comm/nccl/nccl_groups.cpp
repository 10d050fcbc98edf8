#include "comm/nccl/nccl_groups.hpp"

#include <exception>

#include "comm/nccl/check.hpp"
#include "comm/nccl/nccl_library.hpp"
#include "comm/together.hpp"

namespace moewe {

std::unique_ptr<NcclGroups> NcclGroups::make(Communicator& communicator, int device) {
  ncclUniqueId id{};
  std::unique_ptr<NcclGroups> groups;
  together(communicator, [&] {
    groups.reset(new NcclGroups(communicator.waiter(), device));
    if (communicator.rank() == Rank{0}) check_nccl(nccl_library().get_unique_id(&id));
  });
  communicator.broadcast(std::as_writable_bytes(std::span(&id, 1)), Rank{0});
  try {
    together(communicator, [&] { groups->connect(communicator, id); });
  } catch (...) {
    groups->abort();  // nobody is there to end it with
    throw;
  }
  return groups;
}

void NcclGroups::connect(const Communicator& communicator, const ncclUniqueId& id) {
  const CurrentDevice current(device_);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  check_nccl(nccl_library().comm_init_rank_config(&communicator_, static_cast<int>(communicator.size()), id,
                                                  number(communicator.rank()), &config));
  waiter_.until([&] { return is_started(); }, {"NCCL to connect the ranks"});
}

NcclGroups::~NcclGroups() {
  if (communicator_ == nullptr) return;
  try {
    check_nccl(nccl_library().comm_finalize(communicator_));
    waiter_.until([&] { return is_started(); }, {"other ranks to end NCCL"});
    report_nccl(nccl_library().comm_destroy(communicator_));
  } catch (const std::exception&) {  // which has been reported where it matters
    abort();
  }
}

void NcclGroups::start(const MessageGroup& group) {
  const CurrentDevice current(device_);
  check_nccl(nccl_library().group_start());
  try {
    enqueue(group);
  } catch (...) {  // NCCL's group of this thread ends in any case
    nccl_library().group_end();
    throw;
  }
  check_nccl(nccl_library().group_end());
}

/// Messages without bytes are as good as received.
void NcclGroups::enqueue(const MessageGroup& group) {
  const NcclLibrary& nccl = nccl_library();
  for (const GroupSend& send : group.sends) {
    if (send.bytes.empty()) continue;
    check_nccl(nccl.send(send.bytes.data(), send.bytes.size(), ncclUint8, number(send.to), communicator_,
                         queue_.stream()));
  }
  for (const GroupRecv& recv : group.recvs) {
    if (recv.bytes.empty()) continue;
    check_nccl(nccl.recv(recv.bytes.data(), recv.bytes.size(), ncclUint8, number(recv.from), communicator_,
                         queue_.stream()));
  }
}

bool NcclGroups::is_started() {
  ncclResult_t state = ncclSuccess;
  check_nccl(nccl_library().comm_get_async_error(communicator_, &state));
  check_nccl(state);
  return state == ncclSuccess;
}

void NcclGroups::abort() noexcept {
  if (communicator_ == nullptr) return;
  report_nccl(nccl_library().comm_abort(communicator_));
  communicator_ = nullptr;
}

}  // namespace moewe
