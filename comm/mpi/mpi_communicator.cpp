#include "comm/mpi/mpi_communicator.hpp"

#include <climits>
#include <numeric>
#include <utility>

#include "comm/error.hpp"
#include "comm/mpi/check.hpp"
#include "comm/mpi/mpi_backend.hpp"
#include "comm/mpi/node_identity.hpp"
#include "comm/together.hpp"

namespace moewe {
namespace {

int int_count(std::size_t count) {
  expects(count <= INT_MAX, "one collective carries at most 2^31 - 1 bytes per rank");
  return static_cast<int>(count);
}

Rank rank_in(MPI_Comm comm) {
  int rank = 0;
  check_mpi(MPI_Comm_rank(comm, &rank));
  return static_cast<Rank>(rank);
}

std::size_t size_of(MPI_Comm comm) {
  int size = 0;
  check_mpi(MPI_Comm_size(comm, &size));
  return static_cast<std::size_t>(size);
}

Topology learn_topology(MPI_Comm comm, const Waiter& waiter) {
  const std::uint64_t mine = node_identity();
  std::vector<std::uint64_t> all(size_of(comm));
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallgather(&mine, 1, MPI_UINT64_T, all.data(), 1, MPI_UINT64_T, comm, &request));
  MpiCommunicator::wait(request, waiter, "the ranks' node names");
  return Topology(all);
}

void check_thread_level() {
  int level = MPI_THREAD_SINGLE;
  check_mpi(MPI_Query_thread(&level));
  if (level >= MPI_THREAD_FUNNELED) return;
  throw InvalidInput(
      "MPI was started for processes without threads; call MPI_Init_thread with MPI_THREAD_FUNNELED");
}

}  // namespace

MpiHandle::MpiHandle(MPI_Comm owned) : comm_(owned) {
  check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
}

MpiHandle::~MpiHandle() {
  if (comm_ != MPI_COMM_NULL) report_mpi(MPI_Comm_free(&comm_));
}

MpiHandle::MpiHandle(MpiHandle&& other) noexcept : comm_(std::exchange(other.comm_, MPI_COMM_NULL)) {}

MpiHandle& MpiHandle::operator=(MpiHandle&& other) noexcept {
  std::swap(comm_, other.comm_);
  return *this;
}

MpiHandle duplicate(MPI_Comm comm, const Waiter& waiter) {
  MPI_Comm copy = MPI_COMM_NULL;
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Comm_idup(comm, &copy, &request));
  MpiCommunicator::wait(request, waiter, "a duplicated communicator");
  return MpiHandle(copy);
}

MpiCommunicator::MpiCommunicator(MpiHandle comm, const Waiter& waiter)
    : comm_(std::move(comm)),
      rank_(rank_in(comm_.get())),
      waiter_(waiter),
      topology_(learn_topology(comm_.get(), waiter_)) {}

void MpiCommunicator::wait(MPI_Request request, const Waiter& waiter, std::string_view what) {
  waiter.until(
      [&] {
        int done = 0;
        check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
        return done != 0;
      },
      {what});
}

void MpiCommunicator::all_reduce(const Reduction& values) {
  MixedReduction message(values);
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(
      MPI_Iallreduce(MPI_IN_PLACE, message.data(), 1, message.type(), reduction_.get(), native(), &request));
  wait(request, waiter_, "an all-reduce");
  message.unpack(values);
}

void MpiCommunicator::exclusive_scan(std::span<std::int64_t> values) {
  const std::vector<std::int64_t> mine(values.begin(), values.end());
  std::fill(values.begin(), values.end(), std::int64_t{0});  // MPI leaves rank 0's result undefined
  std::vector<std::int64_t> sums(values.size(), 0);
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iexscan(mine.data(), sums.data(), int_count(mine.size()), MPI_INT64_T, MPI_SUM, native(),
                        &request));
  wait(request, waiter_, "a scan");
  if (rank_ != Rank{0}) std::copy(sums.begin(), sums.end(), values.begin());
}

void MpiCommunicator::broadcast(std::span<std::byte> bytes, Rank root) {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibcast(bytes.data(), int_count(bytes.size()), MPI_BYTE, number(root), native(), &request));
  wait(request, waiter_, "a broadcast");
}

void MpiCommunicator::all_gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  expects(all.size() == mine.size() * size(), "all_gather has room for one block per rank");
  const int count = int_count(mine.size());
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallgather(mine.data(), count, MPI_BYTE, all.data(), count, MPI_BYTE, native(), &request));
  wait(request, waiter_, "an all-gather");
}

std::vector<std::byte> MpiCommunicator::gather(std::span<const std::byte> mine, Rank root) {
  const std::vector<int> counts = all_gather_values(*this, int_count(mine.size()));
  const std::size_t total = std::accumulate(counts.begin(), counts.end(), std::size_t{0});
  expects(total <= INT_MAX, "one gather carries at most 2^31 - 1 bytes in all");
  std::vector<int> offsets(counts.size());
  std::exclusive_scan(counts.begin(), counts.end(), offsets.begin(), 0);
  std::vector<std::byte> all(rank_ == root ? total : 0);
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Igatherv(mine.data(), int_count(mine.size()), MPI_BYTE, all.data(), counts.data(),
                         offsets.data(), MPI_BYTE, number(root), native(), &request));
  wait(request, waiter_, "a gather");
  return all;
}

std::unique_ptr<Communicator> MpiCommunicator::child() {
  return std::make_unique<MpiCommunicator>(duplicate(native(), waiter_), waiter_);
}

std::unique_ptr<Communicator> make_mpi_communicator(MPI_Comm parent, std::chrono::duration<double> timeout) {
  const Waiter waiter(timeout);
  auto communicator = std::make_unique<MpiCommunicator>(duplicate(parent, waiter), waiter);
  together(*communicator, check_thread_level);
  return communicator;
}

}  // namespace moewe
