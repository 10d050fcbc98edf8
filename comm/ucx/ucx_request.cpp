#include "comm/ucx/ucx_request.hpp"

#include <fmt/format.h>

#include "comm/error.hpp"
#include "comm/ucx/check.hpp"

namespace moewe {

UcxPending::UcxPending(std::shared_ptr<UcxWorker> worker, Direction direction, ucs_status_ptr_t operation)
    : worker_(std::move(worker)),
      direction_(direction),
      operation_(UCS_PTR_IS_PTR(operation) ? operation : nullptr),
      status_(UCS_PTR_STATUS(operation)) {}

UcxPending::~UcxPending() {
  if (operation_ == nullptr) return;
  if (direction_ == Direction::receive) cancel();
  if (operation_ != nullptr) ucp_request_free(operation_);
}

void UcxPending::cancel() {
  ucp_request_cancel(worker_->get(), operation_);
  try {
    worker_->until(
        [&] {
          poll();
          return operation_ == nullptr;
        },
        {"a message that was given up while it arrived"});
  } catch (const std::exception& error) {
    report_ucx("UCX cancels a receive", error);
  }
}

bool UcxPending::test() {
  poll();
  if (status_ == UCS_INPROGRESS) {
    worker_->progress();
    poll();
  }
  if (status_ == UCS_INPROGRESS) worker_->require_peers();
  require_success();
  return status_ == UCS_OK;
}

void UcxPending::poll() {
  if (operation_ == nullptr) return;
  ucp_tag_recv_info_t info{};
  status_ = direction_ == Direction::receive ? ucp_tag_recv_request_test(operation_, &info)
                                             : ucp_request_check_status(operation_);
  if (status_ == UCS_INPROGRESS) return;
  source_ = sender_of(info.sender_tag);
  ucp_request_free(std::exchange(operation_, nullptr));
}

void UcxPending::require_success() const {
  if (status_ == UCS_OK || status_ == UCS_INPROGRESS) return;
  if (status_ == UCS_ERR_MESSAGE_TRUNCATED) {
    throw Error(ErrorKind::communication, "a message is longer than the memory posted for it");
  }
  worker_->require_peers();  // names the rank
  check_ucx(status_);
}

}  // namespace moewe
