#include <climits>
#include <list>
#include <mpi.h>

#include "comm/error.hpp"
#include "comm/mailbox.hpp"
#include "comm/mpi/check.hpp"
#include "comm/mpi/mpi_backend.hpp"
#include "comm/mpi/mpi_communicator.hpp"

namespace moewe {
namespace {

struct Letter {
  std::vector<std::byte> bytes;
  MPI_Request request = MPI_REQUEST_NULL;

  bool is_done() {
    int done = 0;
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
    return done != 0;
  }
};

class MpiMailbox : public Mailbox {
 public:
  explicit MpiMailbox(MpiHandle comm) : comm_(std::move(comm)) {}

  /// What nobody has taken stays where MPI may still read it: the job is about to end.
  ~MpiMailbox() override {
    if (incoming_) sent_.push_back(std::move(*incoming_));
    if (!sent_.empty()) static_cast<void>(new std::list<Letter>(std::move(sent_)));
  }

  void post(Rank to, std::span<const std::byte> letter) override {
    expects(letter.size() <= INT_MAX, "a letter has at most 2^31 - 1 bytes");
    Letter& copy = sent_.emplace_back(Letter{{letter.begin(), letter.end()}});
    check_mpi(MPI_Isend(copy.bytes.data(), static_cast<int>(copy.bytes.size()), MPI_BYTE, number(to), tag,
                        comm_.get(), &copy.request));
  }

  std::optional<std::vector<std::byte>> take() override {
    sent_.remove_if([](Letter& letter) { return letter.is_done(); });
    if (!incoming_) begin_to_receive();
    if (!incoming_ || !incoming_->is_done()) return std::nullopt;
    std::optional<std::vector<std::byte>> letter(std::move(incoming_->bytes));
    incoming_.reset();
    return letter;
  }

 private:
  static constexpr int tag = 0;

  void begin_to_receive() {
    int found = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status{};
    check_mpi(MPI_Improbe(MPI_ANY_SOURCE, tag, comm_.get(), &found, &message, &status));
    if (found == 0) return;
    int length = 0;
    check_mpi(MPI_Get_count(&status, MPI_BYTE, &length));
    incoming_.emplace();
    incoming_->bytes.resize(static_cast<std::size_t>(length));
    check_mpi(MPI_Imrecv(incoming_->bytes.data(), length, MPI_BYTE, &message, &incoming_->request));
  }

  MpiHandle comm_;
  std::list<Letter> sent_;
  std::optional<Letter> incoming_;
};

}  // namespace

std::unique_ptr<Mailbox> make_mpi_mailbox(Communicator& communicator) {
  const auto* mpi = dynamic_cast<const MpiCommunicator*>(&communicator.beneath());
  expects(mpi != nullptr, "letters over MPI need an MPI communicator");
  return std::make_unique<MpiMailbox>(duplicate(mpi->native(), mpi->waiter()));
}

}  // namespace moewe
