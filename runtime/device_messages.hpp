#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/device_transport.hpp"
#include "runtime/destination_counts.hpp"
#include "runtime/device_step.hpp"
#include "runtime/engine.hpp"
#include "runtime/paths/transfer.hpp"

namespace moewe {

/// The rows of a step on devices, and their outputs, that travel as messages: between ranks whose devices do
/// not address one another, or where that is asked for. Kernels write them where they write others, but into
/// memory of this rank, from where they are sent:
///
///   source       --> counts, from host to host --> rows, plan -->   destination
///                <-- outputs, or sums               <--
///
/// What arrives lies one rank's behind the other's, in memory for as much as arrives. A pair of ranks that
/// exchanges nothing sends nothing. Counts go to all ranks that get rows, pushed ones too, since a rank knows
/// how many assignments it computes, but not whose; so all other messages have receives of their exact size,
/// which name their source.
///
/// The calls of a step are in order: announce, send_rows, await_rows, return_outputs, await_outputs, finish.
/// All ranks make them, in the same steps. None is a collective; those that await block, with the waiter's
/// deadline, and name the ranks that something is missing from. What they throw is a local Error.
class DeviceMessages {
 public:
  /// Of one step, on this rank.
  struct Step {
    std::uint64_t generation = 0;
    std::size_t num_expected = 0;         ///< assignments that it computes, of all ranks' tokens
    std::vector<DestinationCounts> sent;  ///< [num_ranks], to ranks that it pushes to as well
    DeviceArrivals arrivals{};
  };

  /// Where the lane's memory lies, as long as the lane does.
  struct Places {
    Queue* queue;
    std::byte* outputs;  ///< of this rank's tokens, all ranks'
    DeviceStepMemory memory;
    PinnedStepMemory pinned;  ///< with the entries of all ranks that are no peers
  };

  /// Collective, also its destruction. `peers` are those that rows are exchanged with as messages; whoever is
  /// one of this rank's has this rank as one of its own. Borrows engine and device. Throws a shared Error
  /// where messages cannot be carried as the engine's options ask.
  DeviceMessages(Engine& engine, Device& device, const DeviceSizes& sizes, std::vector<Rank> peers);
  ~DeviceMessages();
  DeviceMessages(const DeviceMessages&) = delete;
  DeviceMessages& operator=(const DeviceMessages&) = delete;

  DeviceCarriage carriage() const { return carriage_; }
  const std::string& carriage_reason() const { return carriage_reason_; }

  void place(const Places& places);

  /// Tells other ranks what comes, and kernels, where the rows for peers are to be written.
  void announce(Step step);

  /// Behind all that the queue holds.
  void send_rows();

  /// Until all ranks' rows and plans are there, and the queue knows where.
  void await_rows();

  /// Behind all that the queue holds.
  void return_outputs();
  void await_outputs();

  /// Until nothing reads or writes this rank's memory of the step any more. Throws Error(verification) unless
  /// the device has planned what was announced: `first_assignment` is that of fill_plan.
  void finish(std::span<const std::uint32_t> first_assignment);

 private:
  /// Travels as it is.
  struct Counts {
    std::uint64_t generation;
    DestinationCounts sent;
    std::uint32_t first_output;  ///< as ArrivedPlan has it
    std::uint32_t first_sum;
  };

  /// From one rank that sends something.
  struct Arrival {
    Counts counts;
    std::byte* plan = nullptr;
    std::byte* rows = nullptr;
    std::byte* outputs = nullptr;  ///< to go back
  };

  struct Message {
    Rank peer;
    Transfer transfer;
  };

  bool comes_from(Rank rank) const { return arrived_[index(rank)].has_value(); }
  std::size_t returned_bytes(const Counts& counts) const;
  std::size_t first_returned(const Counts& counts) const;
  void name_packed();
  void post_counts();
  void take_counts(Rank from);
  void place_arrivals();
  void receive_rows();
  void name_sources();
  void send(Rank peer, int tag, std::span<const std::byte> bytes);
  void receive(Rank peer, int tag, std::span<std::byte> bytes);
  void post_behind_queue();
  void await(std::vector<Message>& messages, const char* what, Awaited awaited);
  std::string missing_counts() const;

  Communicator& communicator_;
  DeviceSizes sizes_;
  std::vector<Rank> peers_;
  Places places_{};
  std::unique_ptr<Event> passed_;

  // Outlive the carriers, as all memory of messages does.
  std::vector<Counts> announced_;  // [num_ranks], of the step that is under way
  Counts arriving_{};

  std::unique_ptr<MessageTransport> counts_transport_;
  std::unique_ptr<DeviceTransport> transport_;
  DeviceCarriage carriage_ = DeviceCarriage::automatic;
  std::string carriage_reason_;

  // Of the step that is under way.
  Step step_;
  std::vector<std::optional<Arrival>> arrived_;  // [num_ranks]
  std::size_t num_announced_ = 0;                // assignments that come
  Request counts_request_;
  std::vector<Request> counts_sent_;
  std::vector<Message> sends_;
  std::vector<Message> rows_;
  std::vector<Message> outputs_;
};

}  // namespace moewe
