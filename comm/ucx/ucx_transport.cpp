#include "comm/ucx/ucx_transport.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "comm/ucx/check.hpp"
#include "comm/ucx/ucx_request.hpp"
#include "comm/ucx/ucx_worker.hpp"

namespace moewe {
namespace {

/// Beyond what callers can use.
constexpr Tag farewell{max_tag + 1};

void require_valid(Tag tag) {
  expects(static_cast<int>(tag) >= 0 && static_cast<int>(tag) <= max_tag, "a tag is between 0 and max_tag");
}

class UcxTransport : public MessageTransport {
 public:
  /// The worker is connected to all ranks.
  UcxTransport(Communicator& communicator, std::shared_ptr<UcxWorker> worker, ucs_memory_type_t memory)
      : communicator_(communicator),
        self_(communicator.rank()),
        worker_(std::move(worker)),
        memory_(memory),
        while_waiting_(communicator.waiter(), [this] { progress(); }) {}

  ~UcxTransport() override {
    try {
      take_leave();
    } catch (const std::exception& error) {
      report_ucx("UCX ends without the other ranks", error);
    }
  }

  Request post_send(Rank to, Tag tag, std::span<const std::byte> bytes) override {
    require_valid(tag);
    return send(to, tag, bytes, memory_);
  }

  Request post_recv(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes) override {
    require_valid(tag);
    return receive(from, tag, bytes, memory_);
  }

  void progress() override { worker_->progress(); }

 private:
  Request send(Rank to, Tag tag, std::span<const std::byte> bytes, ucs_memory_type_t memory) {
    ucp_request_param_t params{};
    params.op_attr_mask = UCP_OP_ATTR_FIELD_MEMORY_TYPE;
    params.memory_type = memory;
    const ucs_status_ptr_t operation =
        ucp_tag_send_nbx(worker_->endpoint(to), bytes.data(), bytes.size(), ucx_tag(self_, tag), &params);
    if (operation == nullptr) return {};  // nothing is left to wait for
    return Request(std::make_unique<UcxPending>(worker_, UcxPending::Direction::send, operation));
  }

  Request receive(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes, ucs_memory_type_t memory) {
    ucp_request_param_t params{};
    // A message that is there already is not taken at once, since UCX 1.13 then does not say who sent it.
    params.op_attr_mask = UCP_OP_ATTR_FIELD_MEMORY_TYPE | UCP_OP_ATTR_FLAG_NO_IMM_CMPL;
    params.memory_type = memory;
    const ucp_tag_t mask = from ? ~ucp_tag_t{0} : ucx_tag_mask;
    const ucs_status_ptr_t operation = ucp_tag_recv_nbx(worker_->get(), bytes.data(), bytes.size(),
                                                        ucx_tag(from.value_or(Rank{0}), tag), mask, &params);
    return Request(std::make_unique<UcxPending>(worker_, UcxPending::Direction::receive, operation));
  }

  /// Returns on no rank before all ranks have called it. Meanwhile each moves messages along, which it does
  /// not in the communicator's barrier.
  void meet() {
    const std::size_t size = communicator_.size();
    const std::size_t self = index(self_);
    for (std::size_t distance = 1; distance < size; distance *= 2) {
      const Rank before = rank_at((self + size - distance) % size);
      Request from_before = receive(before, farewell, {}, UCS_MEMORY_TYPE_HOST);
      Request to_next = send(rank_at((self + distance) % size), farewell, {}, UCS_MEMORY_TYPE_HOST);
      worker_->until([&] { return from_before.is_done() && to_next.is_done(); },
                     {"the end of all messages", before});
    }
  }

  /// What any rank still has to send is sent while all ranks take part; and none takes its end of a
  /// connection down before the last word has left all.
  void take_leave() {
    worker_->require_peers();
    worker_->flush();
    meet();
    worker_->flush();
    communicator_.barrier();
  }

  Communicator& communicator_;  // for the end alone: who is kept beyond it only moves messages along
  Rank self_;
  std::shared_ptr<UcxWorker> worker_;
  ucs_memory_type_t memory_;
  WhileWaiting while_waiting_;
};

/// Collective. What goes wrong while UCX starts is told to all ranks, as something that cannot be had here.
void start(Communicator& communicator, const std::function<void()>& work) {
  together(communicator, [&] {
    try {
      work();
    } catch (const Error& error) {
      throw InvalidInput(fmt::format(
          "carrier ucx cannot be used: {}; UCX_TLS and UCX_NET_DEVICES choose what it may use, and "
          "UCX_LOG_LEVEL=info tells more",
          error.what()));
    }
  });
}

/// Collective. Everybody's bytes, of any length each, on every rank.
std::vector<std::vector<std::byte>> gather_all(Communicator& communicator, std::vector<std::byte> mine) {
  const std::vector<std::size_t> lengths = all_gather_values(communicator, mine.size());
  const std::size_t longest = *std::max_element(lengths.begin(), lengths.end());
  mine.resize(longest);
  std::vector<std::byte> padded(longest * lengths.size());
  communicator.all_gather(mine, padded);
  std::vector<std::vector<std::byte>> all;
  for (std::size_t rank = 0; rank < lengths.size(); ++rank) {
    const auto begin = padded.begin() + static_cast<std::ptrdiff_t>(rank * longest);
    all.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(lengths[rank]));
  }
  return all;
}

std::unique_ptr<MessageTransport> make_transport_of(Communicator& communicator, ucs_memory_type_t memory) {
  std::shared_ptr<UcxWorker> worker;
  std::vector<std::byte> address;
  start(communicator, [&] {
    worker = std::make_shared<UcxWorker>(communicator.topology(), communicator.waiter());
    address = worker->address();
  });
  const auto addresses = gather_all(communicator, std::move(address));
  start(communicator, [&] { worker->connect(communicator, addresses); });
  return std::make_unique<UcxTransport>(communicator, std::move(worker), memory);
}

}  // namespace

std::string reason_for_no_ucx() { return ""; }

std::string ucx_version() { return ucp_get_version_string(); }

std::string reason_for_no_gpu_memory_of_ucx() {
  try {
    ucp_params_t params{};
    params.field_mask = UCP_PARAM_FIELD_FEATURES;
    params.features = UCP_FEATURE_TAG;
    return knows_memory_of_gpus(make_ucx_context(params))
               ? ""
               : "UCX is built without CUDA, or UCX_TLS leaves it out";
  } catch (const Error& error) {
    return error.what();
  }
}

std::unique_ptr<MessageTransport> make_ucx_transport(Communicator& communicator) {
  return make_transport_of(communicator, UCS_MEMORY_TYPE_HOST);
}

std::unique_ptr<MessageTransport> make_ucx_gpu_transport(Communicator& communicator) {
  return make_transport_of(communicator, UCS_MEMORY_TYPE_CUDA);
}

}  // namespace moewe
