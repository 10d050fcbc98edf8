#include "comm/device_peer_memory.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <mutex>

#include "comm/flag_board.hpp"
#include "comm/log.hpp"
#include "comm/shm/segment_peer_memory.hpp"
#include "comm/together.hpp"

namespace moewe {
namespace {

constexpr std::chrono::seconds patience_at_end{1};

/// A number that no other process has, whatever its PID namespace.
std::uint64_t this_process() {
  static const std::uint64_t token = random_number();
  return token;
}

/// Until the process ends.
void keep(std::shared_ptr<SharedMemory> memory) {
  static std::mutex mutex;
  static std::vector<std::shared_ptr<SharedMemory>> kept;
  const std::lock_guard lock(mutex);
  kept.push_back(std::move(memory));
}

}  // namespace

/// What a rank shows the others of its node.
struct SegmentCard {
  std::uint64_t process;
  std::size_t device;
  bool is_emulated;
  std::size_t reserved;
  MemoryHandle handle;
  FlagBoard::Address board;
  const std::shared_ptr<SharedMemory>* memory_here;  ///< for threads of the same process
  const std::shared_ptr<FlagBoard>* board_here;
};

class DevicePeerMemoryMaker {
 public:
  DevicePeerMemoryMaker(Communicator& communicator, Device& device)
      : communicator_(communicator), device_(device) {}

  std::unique_ptr<DevicePeerMemory> make(MemoryMeter& meter, std::size_t num_flags,
                                         const DeviceSegment& segment) {
    std::unique_ptr<DevicePeerMemory> made;
    SegmentCard mine{};
    const auto processes = all_gather_values(communicator_, this_process());
    const auto on_node = communicator_.topology().node_ranks(communicator_.rank());
    has_other_processes_ = std::any_of(on_node.begin(), on_node.end(),
                                       [&](Rank peer) { return processes[index(peer)] != this_process(); });
    together(communicator_, [&] {
      made.reset(new DevicePeerMemory(communicator_, device_, meter, num_flags, segment));
      reserved_ = segment.reserved;
      mine = card_of(*made);
    });
    const auto cards = all_gather_values(communicator_, mine);
    together(communicator_, [&] {  // nobody lets go before all hold on
      for (const Rank peer : communicator_.topology().node_ranks(communicator_.rank()))
        made->views_[index(peer)] = see(peer, cards[index(peer)], num_flags);
    });
    return made;
  }

 private:
  SegmentCard card_of(DevicePeerMemory& memory) const {
    return {this_process(),
            device_.number(),
            device_.is_emulated(),
            reserved_,
            has_other_processes_ ? memory.memory_->handle() : MemoryHandle{},
            memory.board_->address(),
            &memory.memory_,
            &memory.board_};
  }

  DevicePeerMemory::View see(Rank peer, const SegmentCard& card, std::size_t num_flags) const {
    if (card.is_emulated != device_.is_emulated()) {
      throw Error(ErrorKind::communication,
                  fmt::format("rank {} computes on another kind of device", number(peer)));
    }
    if (card.process == this_process()) {
      if (device_.let_address(card.device)) return {*card.memory_here, *card.board_here, false};
      throw Error(ErrorKind::communication, fmt::format("GPU {} does not address GPU {}, that of rank {}",
                                                        device_.number(), card.device, number(peer)));
    }
    return {device_.open(card.handle, card.reserved),
            std::make_shared<FlagBoard>(device_, num_flags + 1, card.board), true};
  }

  Communicator& communicator_;
  Device& device_;
  std::size_t reserved_ = 0;
  bool has_other_processes_ = false;  // on this node, to which memory is handed on
};

DevicePeerMemory::DevicePeerMemory(Communicator& communicator, Device& device, MemoryMeter& meter,
                                   std::size_t num_flags, DeviceSegment segment)
    : meter_(meter),
      num_flags_(num_flags),
      length_(segment.length),
      memory_(device.share(segment.length, segment.reserved)),
      board_(std::make_shared<FlagBoard>(device, num_flags + 1)),
      views_(communicator.size()) {
  meter_.add(meter_name, length_);
}

DevicePeerMemory::~DevicePeerMemory() {
  for (View& view : views_) view.memory.reset();
  board_->set(let_go_flag(), 1);
  try {
    Waiter(patience_at_end).until([&] { return all_have_let_go(); }, {"peers to let go of device memory"});
  } catch (const Error& error) {
    log(LogLevel::warning, fmt::format("{}; it is kept until the process ends", error.what()));
    keep(memory_);
  }
  meter_.remove(meter_name, length_);
}

bool DevicePeerMemory::all_have_let_go() const {
  return std::all_of(views_.begin(), views_.end(), [&](const View& view) {
    return !view.is_other_process || view.board->get(let_go_flag()) > 0;
  });
}

void DevicePeerMemory::grow(std::size_t bytes) {
  if (bytes <= length_) return;
  memory_->grow(bytes);
  meter_.add(meter_name, bytes - length_);
  length_ = bytes;
}

std::byte* DevicePeerMemory::data_of(Rank peer) const {
  const View& seen = view(peer);
  if (seen.is_other_process) seen.memory->follow();
  return seen.memory->data();
}

const DevicePeerMemory::View& DevicePeerMemory::view(Rank peer) const {
  expects(reaches(peer), "peer memory is asked only for ranks that it reaches");
  return views_[index(peer)];
}

void DevicePeerMemory::publish(std::size_t flag, std::uint64_t generation) {
  expects(flag < num_flags_, "a flag's number is below num_flags");
  board_->set(flag, generation);
}

std::uint64_t DevicePeerMemory::published(Rank peer, std::size_t flag) const {
  expects(flag < num_flags_, "a flag's number is below num_flags");
  return view(peer).board->get(flag);
}

void DevicePeerMemory::publish(Queue& queue, std::size_t flag, std::uint64_t generation) {
  expects(flag < num_flags_, "a flag's number is below num_flags");
  queue.set_flag(board_->on_device(flag), generation);
}

void DevicePeerMemory::wait_for(Queue& queue, Rank peer, std::size_t flag, std::uint64_t generation) {
  queue.wait_for_flag(flag_on_device(peer, flag), generation);
}

std::uint64_t* DevicePeerMemory::flag_on_device(Rank peer, std::size_t flag) {
  expects(flag < num_flags_, "a flag's number is below num_flags");
  return view(peer).board->on_device(flag);
}

DevicePeerMemoryOffer make_device_peer_memory(Communicator& communicator, Device& device, MemoryMeter& meter,
                                              std::size_t num_flags, DeviceSegment segment) {
  try {
    return {DevicePeerMemoryMaker(communicator, device).make(meter, num_flags, segment), ""};
  } catch (const Error& error) {
    if (error.scope() != ErrorScope::shared) throw;
    return {nullptr, error.what()};
  }
}

}  // namespace moewe
