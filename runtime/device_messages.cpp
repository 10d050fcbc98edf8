#include "runtime/device_messages.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <utility>

#include "comm/error.hpp"
#include "runtime/kernels/group_rows.hpp"

namespace moewe {
namespace {

enum MessageTag : int { counts_tag, rows_tag, plan_tag, outputs_tag };

/// Longer ones are cut: MPI counts bytes in an int.
constexpr std::size_t longest_message = std::size_t{1} << 30U;

}  // namespace

DeviceMessages::DeviceMessages(Engine& engine, Device& device, const DeviceSizes& sizes,
                               std::vector<Rank> peers)
    : communicator_(engine.communicator()),
      sizes_(sizes),
      peers_(std::move(peers)),
      passed_(device.make_event()),
      counts_transport_(engine.backend().make_transport(communicator_)) {
  const ExchangeOptions& options = engine.exchange_options();
  DeviceTransportChoice choice{nullptr, DeviceCarriage::direct, "a carrier of the caller's own"};
  if (options.make_device_carrier) {
    choice.transport = options.make_device_carrier(communicator_, device);
  } else {
    choice = make_device_transport(communicator_, engine.backend(), device, engine.memory(),
                                   options.device_messages);
  }
  transport_ = std::move(choice.transport);
  carriage_ = choice.carriage;
  carriage_reason_ = std::move(choice.reason);
  post_counts();
}

DeviceMessages::~DeviceMessages() = default;

void DeviceMessages::place(const Places& places) {
  places_ = places;
  if (places_.memory.no_plan != nullptr)
    places_.queue->fill(places_.memory.no_plan, 0, sizeof *places_.memory.no_plan);
}

std::size_t DeviceMessages::returned_bytes(const Counts& counts) const {
  return (sizes_.combine == Combine::fast ? counts.sent.rows : counts.sent.assignments) * sizes_.row_bytes();
}

/// The place of the first among all that the source waits for, in bytes.
std::size_t DeviceMessages::first_returned(const Counts& counts) const {
  return (sizes_.combine == Combine::fast ? counts.first_sum : counts.first_output) * sizes_.row_bytes();
}

void DeviceMessages::announce(Step step) {
  step_ = std::move(step);
  const std::size_t self = index(communicator_.rank());
  announced_.clear();
  arrived_.assign(communicator_.size(), std::nullopt);
  Counts next{.generation = step_.generation, .sent = {}, .first_output = 0, .first_sum = 0};
  for (const DestinationCounts& counts : step_.sent) {
    next.sent = counts;
    announced_.push_back(next);
    next.first_output += counts.assignments;
    next.first_sum += counts.rows;
  }
  if (step_.sent[self].assignments > 0) arrived_[self] = {.counts = announced_[self]};
  num_announced_ = step_.sent[self].assignments;
  for (std::size_t rank = 0; rank < announced_.size(); ++rank) {
    if (rank == self || step_.sent[rank].assignments == 0) continue;
    const auto bytes = std::as_bytes(std::span(announced_).subspan(rank, 1));
    counts_sent_.push_back(counts_transport_->post_send(rank_at(rank), Tag{counts_tag}, bytes));
  }
  name_packed();
}

/// One behind the other.
void DeviceMessages::name_packed() {
  if (peers_.empty()) return;
  const auto& [queue, outputs, memory, pinned] = places_;
  std::byte* rows = memory.packed_rows;
  std::byte* plan = memory.packed_plans;
  for (const Rank peer : peers_) {
    const DestinationCounts& counts = step_.sent[index(peer)];
    pinned.row_destinations[index(peer)] = rows;
    pinned.plan_destinations[index(peer)] = plan;
    rows += counts.rows * sizes_.row_bytes();
    plan += packed_plan_bytes(counts.assignments);
  }
  const std::size_t bytes = announced_.size() * sizeof(std::byte*);
  queue->copy(memory.row_destinations, pinned.row_destinations, bytes);
  queue->copy(memory.plan_destinations, pinned.plan_destinations, bytes);
}

void DeviceMessages::post_behind_queue() {
  places_.queue->record(*passed_);
  transport_->wait_for(*passed_);
}

void DeviceMessages::send(Rank peer, int tag, std::span<const std::byte> bytes) {
  sends_.push_back({peer, Transfer::send(*transport_, peer, Tag{tag}, bytes, longest_message)});
}

void DeviceMessages::receive(Rank peer, int tag, std::span<std::byte> bytes) {
  std::vector<Message>& messages = tag == outputs_tag ? outputs_ : rows_;
  messages.push_back({peer, Transfer::receive(*transport_, peer, Tag{tag}, bytes, longest_message)});
}

void DeviceMessages::send_rows() {
  post_behind_queue();
  for (const Rank peer : peers_) {
    const DestinationCounts& counts = step_.sent[index(peer)];
    if (counts.assignments == 0) continue;
    send(peer, plan_tag, {places_.pinned.plan_destinations[index(peer)], plan_bytes(counts.assignments)});
    send(peer, rows_tag, {places_.pinned.row_destinations[index(peer)], counts.rows * sizes_.row_bytes()});
  }
}

void DeviceMessages::post_counts() {
  counts_request_ = counts_transport_->post_recv(std::nullopt, Tag{counts_tag},
                                                 std::as_writable_bytes(std::span(&arriving_, 1)));
}

void DeviceMessages::take_counts(Rank from) {
  const DestinationCounts& sent = arriving_.sent;
  const bool fits = sent.rows > 0 && sent.rows <= sent.assignments && sent.rows <= sizes_.max_tokens &&
                    sent.assignments <= sizes_.max_assignments() &&
                    num_announced_ + sent.assignments <= step_.num_expected;
  if (!fits || arriving_.generation != step_.generation || comes_from(from)) {
    throw Error(ErrorKind::verification,
                fmt::format("rank {} announces {} rows of {} assignments of round {} in round {}, which "
                            "expects {} in all",
                            number(from), sent.rows, sent.assignments, arriving_.generation, step_.generation,
                            step_.num_expected));
  }
  arrived_[index(from)] = {.counts = arriving_};
  num_announced_ += sent.assignments;
}

/// One behind the other.
void DeviceMessages::place_arrivals() {
  std::byte* plan = step_.arrivals.received_plans;
  std::byte* rows = step_.arrivals.received_rows;
  std::byte* outputs = step_.arrivals.returned;
  for (const Rank peer : peers_) {
    if (!comes_from(peer)) continue;
    Arrival& arrival = *arrived_[index(peer)];
    arrival = {arrival.counts, plan, rows, outputs};
    plan += packed_plan_bytes(arrival.counts.sent.assignments);
    rows += arrival.counts.sent.rows * sizes_.row_bytes();
    outputs += returned_bytes(arrival.counts);
  }
}

/// Outputs are received in the group in which they are sent, behind that of rows.
void DeviceMessages::receive_rows() {
  for (const Rank peer : peers_) {
    if (!comes_from(peer)) continue;
    const Arrival& arrival = *arrived_[index(peer)];
    receive(peer, plan_tag, {arrival.plan, plan_bytes(arrival.counts.sent.assignments)});
    receive(peer, rows_tag, {arrival.rows, arrival.counts.sent.rows * sizes_.row_bytes()});
  }
  transport_->flush();
  for (const Rank peer : peers_) {
    const Counts& counts = announced_[index(peer)];
    if (counts.sent.assignments == 0) continue;
    receive(peer, outputs_tag, {places_.outputs + first_returned(counts), returned_bytes(counts)});
  }
}

void DeviceMessages::await_rows() {
  WaitReason reason{"counts of rows"};
  reason.missing = [this] { return missing_counts(); };
  const auto are_there = [&] {
    while (counts_request_.is_done()) {  // of which there is always one that is not: so messages move along
      take_counts(counts_request_.source());
      post_counts();
    }
    return num_announced_ == step_.num_expected;
  };
  communicator_.waiter().until(are_there, reason);
  place_arrivals();
  receive_rows();
  await(rows_, "rows", Awaited::arrival);
  name_sources();
}

/// Kernels look for a source's outputs from the place of its very first on, of which some are for others.
void DeviceMessages::name_sources() {
  if (peers_.empty()) return;
  const auto& [queue, outputs, memory, pinned] = places_;
  for (const Rank peer : peers_) {
    ArrivedFrom& from = pinned.sources[index(peer)];
    from = {memory.no_plan, nullptr, nullptr, 0};
    if (!comes_from(peer)) continue;
    const Arrival& arrival = *arrived_[index(peer)];
    const std::uintptr_t very_first =
        reinterpret_cast<std::uintptr_t>(arrival.outputs) - first_returned(arrival.counts);
    from = {reinterpret_cast<const ArrivedPlan*>(arrival.plan), arrival.rows,
            reinterpret_cast<std::byte*>(very_first), arrival.counts.sent.assignments};
  }
  queue->copy(memory.sources, pinned.sources, arrived_.size() * sizeof(ArrivedFrom));
}

void DeviceMessages::return_outputs() {
  post_behind_queue();
  for (const Rank peer : peers_) {
    if (!comes_from(peer)) continue;
    const Arrival& arrival = *arrived_[index(peer)];
    send(peer, outputs_tag, {arrival.outputs, returned_bytes(arrival.counts)});
  }
  transport_->flush();
}

void DeviceMessages::await_outputs() { await(outputs_, "outputs", Awaited::arrival); }

void DeviceMessages::finish(std::span<const std::uint32_t> first_assignment) {
  await(sends_, "messages to be taken", Awaited::taking);
  const auto are_taken = [&] {
    return std::all_of(counts_sent_.begin(), counts_sent_.end(),
                       [](Request& sent) { return sent.is_done(); });
  };
  communicator_.waiter().until(are_taken, {"counts to be taken", std::nullopt, Awaited::taking});
  counts_sent_.clear();
  for (std::size_t rank = 0; rank < announced_.size(); ++rank) {
    const Counts& counts = announced_[rank];
    if (first_assignment[rank] == counts.first_output &&
        first_assignment[rank + 1] == counts.first_output + counts.sent.assignments) {
      continue;
    }
    throw Error(
        ErrorKind::verification,
        fmt::format("{} assignments were announced to rank {}, and the device has planned {}",
                    counts.sent.assignments, rank, first_assignment[rank + 1] - first_assignment[rank]));
  }
}

void DeviceMessages::await(std::vector<Message>& messages, const char* what, Awaited awaited) {
  WaitReason reason{what, std::nullopt, awaited};
  std::size_t num_done = 0;
  const auto are_done = [&] {
    while (num_done < messages.size() && messages[num_done].transfer.is_done()) ++num_done;
    return num_done == messages.size();
  };
  const auto update = [&] { reason.peer = messages[num_done].peer; };
  communicator_.waiter().until(are_done, reason, update);
  messages.clear();
}

std::string DeviceMessages::missing_counts() const {
  std::vector<std::size_t> silent;
  for (std::size_t rank = 0; rank < arrived_.size(); ++rank)
    if (!arrived_[rank] && rank != index(communicator_.rank())) silent.push_back(rank);
  return fmt::format("{} of {} assignments are announced; nothing is heard of ranks {}", num_announced_,
                     step_.num_expected, fmt::join(silent, ", "));
}

}  // namespace moewe
