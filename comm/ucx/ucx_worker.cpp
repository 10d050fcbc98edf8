#include "comm/ucx/ucx_worker.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "comm/error.hpp"
#include "comm/ucx/check.hpp"
#include "comm/ucx/ucx_request.hpp"

namespace moewe {
namespace {

std::size_t most_ranks_of_a_node(const Topology& topology) {
  std::size_t most = 0;
  for (std::size_t r = 0; r < topology.num_ranks(); ++r)
    most = std::max(most, topology.node_ranks(rank_at(r)).size());
  return most;
}

UcxContext make_context(const Topology& topology) {
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_TAG_SENDER_MASK |
                      UCP_PARAM_FIELD_ESTIMATED_NUM_EPS | UCP_PARAM_FIELD_ESTIMATED_NUM_PPN;
  params.features = UCP_FEATURE_TAG;
  params.tag_sender_mask = ucx_sender_mask;
  params.estimated_num_eps = topology.num_ranks();
  params.estimated_num_ppn = most_ranks_of_a_node(topology);
  return make_ucx_context(params);
}

ucp_worker_h make_worker(ucp_context_h context) {
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE | UCP_WORKER_PARAM_FIELD_FLAGS;
  params.thread_mode = UCS_THREAD_MODE_SINGLE;
  params.flags = UCP_WORKER_FLAG_IGNORE_REQUEST_LEAK;  // sends that were abandoned
  ucp_worker_h worker = nullptr;
  check_ucx(ucp_worker_create(context, &params, &worker));
  return worker;
}

}  // namespace

UcxWorker::UcxWorker(const Topology& topology, const Waiter& waiter)
    : waiter_(waiter.alone()), context_(make_context(topology)), worker_(make_worker(context_.get())) {}

/// A worker may not end while one of these still has something to send; the others it takes down itself.
UcxWorker::~UcxWorker() {
  for (const ucp_ep_h endpoint : watched_) close(endpoint);
}

std::vector<std::byte> UcxWorker::address() const {
  ucp_address_t* address = nullptr;
  std::size_t length = 0;
  check_ucx(ucp_worker_get_address(worker_.get(), &address, &length));
  const auto* bytes = reinterpret_cast<const std::byte*>(address);
  std::vector<std::byte> copy(bytes, bytes + length);
  ucp_worker_release_address(worker_.get(), address);
  return copy;
}

void UcxWorker::connect(const Communicator& communicator, std::span<const std::vector<std::byte>> addresses) {
  for (std::size_t peer = 0; peer < addresses.size(); ++peer) {
    const bool is_near = communicator.topology().share_node(communicator.rank(), rank_at(peer));
    try {
      endpoints_.push_back(make_endpoint(addresses[peer], !is_near));
    } catch (const Error& error) {
      throw Error(error.kind(), fmt::format("rank {} cannot be reached: {}", peer, error.what()));
    }
  }
}

ucp_ep_h UcxWorker::make_endpoint(std::span<const std::byte> address, bool is_watched) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = reinterpret_cast<const ucp_address_t*>(address.data());
  params.err_mode = is_watched ? UCP_ERR_HANDLING_MODE_PEER : UCP_ERR_HANDLING_MODE_NONE;
  params.err_handler = {note_loss, this};
  ucp_ep_h endpoint = nullptr;
  check_ucx(ucp_ep_create(worker_.get(), &params, &endpoint));
  if (is_watched) watched_.push_back(endpoint);
  return endpoint;
}

void UcxWorker::note_loss(void* worker, ucp_ep_h endpoint, ucs_status_t status) {
  auto& loss = static_cast<UcxWorker*>(worker)->loss_;
  if (!loss) loss = Loss{endpoint, status};
}

void UcxWorker::require_peers() const {
  if (!loss_) return;
  const auto lost = std::find(endpoints_.begin(), endpoints_.end(), loss_->endpoint);
  throw Error(ErrorKind::communication, fmt::format("UCX lost rank {}: {}", lost - endpoints_.begin(),
                                                    ucs_status_string(loss_->status)));
}

void UcxWorker::finish(ucs_status_ptr_t operation, std::string_view what) {
  if (!UCS_PTR_IS_PTR(operation)) return check_ucx(UCS_PTR_RAW_STATUS(operation));
  const std::unique_ptr<void, decltype(&ucp_request_free)> owner(operation, ucp_request_free);
  until([&] { return ucp_request_check_status(operation) != UCS_INPROGRESS; }, {what});
  check_ucx(ucp_request_check_status(operation));
}

void UcxWorker::flush() {
  const ucp_request_param_t params{};
  finish(ucp_worker_flush_nbx(worker_.get(), &params), "messages to leave this rank");
}

/// Whatever its status then is, the endpoint is gone.
void UcxWorker::close(ucp_ep_h endpoint) noexcept {
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  params.flags = UCP_EP_CLOSE_FLAG_FORCE;
  const ucs_status_ptr_t closing = ucp_ep_close_nbx(endpoint, &params);
  if (!UCS_PTR_IS_PTR(closing)) return;
  try {
    until([&] { return ucp_request_check_status(closing) != UCS_INPROGRESS; }, {"a connection to close"});
  } catch (const std::exception& error) {
    report_ucx("UCX closes a connection", error);
  }
  ucp_request_free(closing);
}

}  // namespace moewe
