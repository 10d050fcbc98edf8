#pragma once

#include <cstdint>
#include <memory>
#include <ucp/api/ucp.h>

#include "comm/message_transport.hpp"
#include "comm/ucx/ucx_worker.hpp"

namespace moewe {

/// UCX matches 64 bits: the sender's rank in the upper half, the tag in the lower.
inline constexpr ucp_tag_t ucx_sender_mask = 0xFFFFFFFF00000000U;
inline constexpr ucp_tag_t ucx_tag_mask = ~ucx_sender_mask;

constexpr ucp_tag_t ucx_tag(Rank sender, Tag tag) {
  return (static_cast<ucp_tag_t>(number(sender)) << 32U) | static_cast<std::uint32_t>(tag);
}

constexpr Rank sender_of(ucp_tag_t tag) { return static_cast<Rank>(tag >> 32U); }

/// A message that UCX did not finish at once. Keeps its worker alive.
class UcxPending : public Request::Pending {
 public:
  enum class Direction { send, receive };

  /// `operation` is what UCX returned: a handle, which is owned from here on, or the status of a failure,
  /// which test() throws.
  UcxPending(std::shared_ptr<UcxWorker> worker, Direction direction, ucs_status_ptr_t operation);

  /// A receive that has begun to take its message, and so can no longer be cancelled, is waited for.
  ~UcxPending() override;

  bool test() override;
  Rank source() const override { return source_; }

 private:
  void poll();
  void require_success() const;
  void cancel();

  std::shared_ptr<UcxWorker> worker_;
  Direction direction_;
  void* operation_ = nullptr;  // until it is done
  ucs_status_t status_ = UCS_INPROGRESS;
  Rank source_{};
};

}  // namespace moewe
