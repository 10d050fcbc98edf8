#include "comm/mpi/mpi_transport.hpp"

#include <array>
#include <climits>
#include <exception>
#include <fmt/format.h>

#include "comm/error.hpp"
#include "comm/log.hpp"
#include "comm/mpi/check.hpp"
#include "comm/mpi/mpi_backend.hpp"
#include "comm/mpi/mpi_communicator.hpp"
#include "comm/shm/shm_communicator.hpp"
#include "comm/shm/shm_peer_memory.hpp"

#if __has_include(<mpi-ext.h>)
#include <mpi-ext.h>
#endif

namespace moewe {
namespace {

/// What the messages of a transport share, also beyond it.
struct MpiTraffic {
  Waiter waiter;  // alone
  std::size_t in_flight = 0;
  bool is_stuck = false;  // a receive that was given up did not come to its end
};

class MpiPending : public Request::Pending {
 public:
  enum class Direction { send, receive };

  /// Counts itself among those in flight until it is done.
  MpiPending(MPI_Request request, Direction direction, std::shared_ptr<MpiTraffic> traffic)
      : request_(request), direction_(direction), traffic_(std::move(traffic)) {
    ++traffic_->in_flight;
  }

  ~MpiPending() override {
    if (request_ != MPI_REQUEST_NULL && direction_ == Direction::receive) cancel();
    if (request_ == MPI_REQUEST_NULL) return;
    --traffic_->in_flight;
    report_mpi(MPI_Request_free(&request_));
  }

  bool test() override {
    if (request_ == MPI_REQUEST_NULL) return true;
    int done = 0;
    MPI_Status status{};
    check_mpi(MPI_Test(&request_, &done, &status));
    if (done == 0) return false;
    --traffic_->in_flight;
    if (direction_ == Direction::receive) source_ = static_cast<Rank>(status.MPI_SOURCE);
    return true;
  }

  Rank source() const override { return source_; }

 private:
  /// MPI may write until the request is done. A cancelled one soon should be, whatever other ranks do (MPI
  /// 4.0, 3.8.4), but Open MPI goes on with a message that has begun to arrive: that is waited for, where its
  /// sender is gone until the deadline, and then not once more.
  void cancel() noexcept {
    report_mpi(MPI_Cancel(&request_));
    try {
      if (traffic_->is_stuck && !test()) return;
      traffic_->waiter.until([&] { return test(); }, {"a message that was given up while it arrived"});
    } catch (const std::exception& error) {
      traffic_->is_stuck = true;
      log(LogLevel::warning, fmt::format("MPI cancels a receive: {}", error.what()));
    }
  }

  MPI_Request request_;
  Direction direction_;
  std::shared_ptr<MpiTraffic> traffic_;
  Rank source_{};
};

int int_length(std::size_t bytes) {
  expects(bytes <= INT_MAX, "one message has at most 2^31 - 1 bytes");
  return static_cast<int>(bytes);
}

int native_tag(Tag tag) {
  expects(static_cast<int>(tag) >= 0 && static_cast<int>(tag) <= max_tag, "a tag is between 0 and max_tag");
  return static_cast<int>(tag);
}

class MpiTransport : public MessageTransport {
 public:
  MpiTransport(MpiHandle comm, const Waiter& waiter)
      : comm_(std::move(comm)),
        traffic_(std::make_shared<MpiTraffic>(MpiTraffic{waiter.alone()})),
        while_waiting_(waiter, [this] { poll(); }) {}

  Request post_send(Rank to, Tag tag, std::span<const std::byte> bytes) override {
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Isend(bytes.data(), int_length(bytes.size()), MPI_BYTE, number(to), native_tag(tag),
                        comm_.get(), &request));
    return Request(std::make_unique<MpiPending>(request, MpiPending::Direction::send, traffic_));
  }

  Request post_recv(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes) override {
    MPI_Request request = MPI_REQUEST_NULL;
    const int source = from ? number(*from) : MPI_ANY_SOURCE;
    check_mpi(MPI_Irecv(bytes.data(), int_length(bytes.size()), MPI_BYTE, source, native_tag(tag),
                        comm_.get(), &request));
    return Request(std::make_unique<MpiPending>(request, MpiPending::Direction::receive, traffic_));
  }

  void progress() override {
    int found = 0;  // of no interest: probing, like every MPI_Test, progresses all of MPI
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm_.get(), &found, MPI_STATUS_IGNORE));
  }

 private:
  /// MPI may still have to pass on a message that it has called done, but seldom: when nothing else is in
  /// flight, most polls leave it alone.
  void poll() {
    constexpr std::size_t polls_per_look = 16;
    if (traffic_->in_flight > 0 || ++num_idle_polls_ % polls_per_look == 0) progress();
  }

  MpiHandle comm_;
  std::shared_ptr<MpiTraffic> traffic_;
  std::size_t num_idle_polls_ = 0;
  WhileWaiting while_waiting_;
};

/// Asked of the library that runs, where this one's headers say that it can be asked.
std::string reason_for_no_gpu_memory() {
#ifdef MPIX_CUDA_AWARE_SUPPORT
  return MPIX_Query_cuda_support() == 1 ? "" : "MPI is built without CUDA, or runs without it";
#else
  return "MPI does not say whether it carries memory of GPUs";
#endif
}

std::unique_ptr<Communicator> make_mpi_engine_communicator(Communicator& parent, MemoryMeter& meter) {
  return make_shm_communicator(parent.child(), make_shm_peer_memory, meter);
}

}  // namespace

std::unique_ptr<MessageTransport> make_mpi_transport(Communicator& communicator) {
  const auto* mpi = dynamic_cast<const MpiCommunicator*>(&communicator.beneath());
  expects(mpi != nullptr, "messages over MPI need an MPI communicator");
  return std::make_unique<MpiTransport>(duplicate(mpi->native(), mpi->waiter()), mpi->waiter());
}

std::string mpi_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  check_mpi(MPI_Get_library_version(text.data(), &length));
  return text.data();
}

Backend mpi_backend() {
  Backend backend{"mpi", make_mpi_transport, make_shm_peer_memory, make_mpi_engine_communicator};
  backend.reason_for_no_gpu_memory = reason_for_no_gpu_memory;
  return backend;
}

}  // namespace moewe
