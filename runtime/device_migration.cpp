#include "runtime/device_migration.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fmt/format.h>
#include <utility>

#include "comm/error.hpp"
#include "comm/log.hpp"
#include "comm/together.hpp"

namespace moewe {
namespace {

/// Longer ones would only hold up what else is to be sent.
constexpr std::size_t most_piece_bytes = std::size_t{4} << 20U;

/// Whether nothing but ending the job is safe.
bool ends_the_engine(const std::exception_ptr& failure) {
  const ErrorKind kind = kind_of(failure);
  return kind == ErrorKind::communication || kind == ErrorKind::timeout || kind == ErrorKind::peer_failed;
}

}  // namespace

DeviceMigration::DeviceMigration(const Place& place, std::uint64_t epoch)
    : place_(place),
      state_(epoch),
      queue_(place.device.make_queue()),
      sent_summed_(place.device.make_event()),
      compared_(place.device.make_event()),
      sent_sums_(std::make_shared<DeviceWeightSums>(place.device, place.meter, place.expert_bytes)),
      arrived_sums_(place.device, place.meter, place.expert_bytes),
      told_sums_(place.device, place.meter, DeviceWeightSums::meter_name, sent_sums_->sums().size()),
      both_sums_(place.device, place.meter, DeviceWeightSums::meter_name, 2 * sent_sums_->sums().size(),
                 MemoryKind::pinned) {}

MemoryPlan DeviceMigration::plan_memory(std::size_t expert_bytes) {
  constexpr std::size_t num_told = 3;  // by the sender, and twice to compare
  MemoryPlan plan;
  plan.add(DeviceWeightSums::meter_name, 2 * DeviceWeightSums::memory_bytes(expert_bytes) +
                                             num_told * DeviceWeightSums::bytes_for(expert_bytes));
  return plan;
}

DeviceMigration::~DeviceMigration() {
  try {
    let_go();
  } catch (const std::exception& error) {
    log(LogLevel::warning, fmt::format("a migration between devices ends: {}", error.what()));
  }
}

void DeviceMigration::begin(Task task) {
  let_go();
  task_.emplace(std::move(task));
  turn_ = place_.carrier.take_turn([this] { progress(); });
  const std::size_t per_step = std::max<std::size_t>(task_->options.bytes_per_step, 1);
  piece_bytes_ = std::min({per_step, most_piece_bytes, place_.expert_bytes});
  pieces_per_step_ = per_step / piece_bytes_;
  num_pieces_ = (place_.expert_bytes + piece_bytes_ - 1) / piece_bytes_;
  const MigrationPlan& plan = task_->plan;
  state_.begin(plan.to_epoch, static_cast<std::int64_t>(plan.num_rounds * num_pieces_),
               task_->options.patience_steps);
  report_ = {.state = state_.state(),
             .from_epoch = plan.from_epoch,
             .to_epoch = plan.to_epoch,
             .num_moves = plan.moves.size(),
             .num_bytes = plan.moves.size() * place_.expert_bytes,
             .sent_bytes = 0,
             .received_bytes = 0,
             .num_steps = 0,
             .reason = {},
             .seconds = report_.seconds,
             .num_switched = report_.num_switched,
             .num_cancelled = report_.num_cancelled,
             .switched_moves = report_.switched_moves,
             .switched_bytes = report_.switched_bytes};
  enter_round(0);
}

void DeviceMigration::progress() {
  if (state_.state() != MigrationState::copying || state_.has_failed()) return;
  const auto begun = std::chrono::steady_clock::now();
  move_on_or_fail();
  report_.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  report_.state = state_.state();
}

void DeviceMigration::move_on_or_fail() {
  try {
    move_on();
  } catch (...) {
    if (ends_the_engine(std::current_exception())) throw;
    state_.fail();
    failure_ = std::current_exception();
  }
}

void DeviceMigration::move_on() {
  send();
  receive();
  while (round_ < task_->plan.num_rounds && is_finished(sending_) && is_finished(receiving_))
    enter_round(round_ + 1);
  state_.advance(pieces_done());
  if (round_ < task_->plan.num_rounds) return;
  gather_slots();
  state_.make_ready();
}

void DeviceMigration::enter_round(std::size_t round) {
  const Rank self = place_.communicator.rank();
  round_ = round;
  sending_ = {};
  receiving_ = {};
  sending_.move = task_->plan.sent_by(self, round);
  receiving_.move = task_->plan.received_by(self, round);
}

/// All ranks have done what came before this round.
bool DeviceMigration::is_open() const {
  return state_.done_by_all() >= static_cast<std::int64_t>(round_ * num_pieces_);
}

/// The last piece of an expert is done once its checksums are right.
std::int64_t DeviceMigration::pieces_done() const {
  std::size_t done = round_ * num_pieces_;
  if (round_ < task_->plan.num_rounds) {
    const auto of = [&](const Stream& stream) {
      return is_finished(stream) ? num_pieces_ : std::min(stream.num_done, num_pieces_ - 1);
    };
    done += std::min(of(sending_), of(receiving_));
  }
  return static_cast<std::int64_t>(done);
}

std::size_t DeviceMigration::length_of(std::size_t message) const {
  if (message == num_pieces_) return sent_sums_->sums().size();
  return std::min(piece_bytes_, place_.expert_bytes - message * piece_bytes_);
}

void DeviceMigration::send() {
  Stream& stream = sending_;
  if (is_finished(stream) || !is_open()) return;
  if (!stream.weights) {
    stream.weights = weights_of(stream.move->expert);
    expects(stream.weights != nullptr, "what a rank sends it holds");
    sent_sums_->start(*queue_, stream.weights.get());
    queue_->record(*sent_summed_);
  }
  for (; !stream.requests.empty() && stream.requests.front().is_done(); stream.requests.pop_front())
    ++stream.num_done;
  for (std::size_t n = 0; n < pieces_per_step_ && stream.requests.size() < pieces_per_step_; ++n) {
    const std::size_t message = stream.num_posted;
    const bool is_sums = message == num_pieces_;
    if (message > num_pieces_ || (is_sums && !sent_summed_->is_done())) break;
    const std::byte* const from =
        is_sums ? sent_sums_->sums().data() : stream.weights.get() + message * piece_bytes_;
    const std::size_t length = length_of(message);
    stream.requests.push_back(
        place_.carrier.transport().post_send(stream.move->to, turn_->tag, {from, length}));
    if (!is_sums) report_.sent_bytes += length;
    ++stream.num_posted;
  }
  stream.is_complete = stream.num_done > num_pieces_;
}

void DeviceMigration::receive() {
  Stream& stream = receiving_;
  if (is_finished(stream) || !is_open()) return;
  if (!stream.room) stream.room = task_->take_room();
  if (!stream.room) return;
  for (; !stream.requests.empty() && stream.requests.front().is_done(); stream.requests.pop_front()) {
    if (stream.num_done < num_pieces_) report_.received_bytes += length_of(stream.num_done);
    ++stream.num_done;
  }
  post_receives();
  if (stream.num_done > num_pieces_) compare();
}

/// Some more than the sender has under way, so that none waits for the next step.
void DeviceMigration::post_receives() {
  Stream& stream = receiving_;
  while (stream.num_posted <= num_pieces_ && stream.requests.size() < 2 * pieces_per_step_) {
    const std::size_t message = stream.num_posted++;
    std::byte* const to =
        message == num_pieces_ ? told_sums_.data() : stream.room.get() + message * piece_bytes_;
    stream.requests.push_back(
        place_.carrier.transport().post_recv(stream.move->from, turn_->tag, {to, length_of(message)}));
  }
}

/// In one step the sums of what has arrived are asked for, and in another they are there.
void DeviceMigration::compare() {
  Stream& stream = receiving_;
  const std::size_t length = told_sums_.size();
  std::byte* const both = both_sums_.data();
  if (!std::exchange(stream.is_compared, true)) {
    arrived_sums_.start(*queue_, stream.room.get());
    queue_->copy(both, told_sums_.data(), length);
    queue_->copy(both + length, arrived_sums_.sums().data(), length);
    queue_->record(*compared_);
  }
  if (!compared_->is_done()) return;
  if (std::memcmp(both, both + length, length) != 0) {
    throw Error(ErrorKind::verification, fmt::format("{} have changed on their way", describe(*stream.move)));
  }
  arrived_.emplace(stream.move->expert, std::move(stream.room));
  stream.is_complete = true;
}

/// Null for an expert that this rank neither holds nor has received.
DeviceExpertWeights DeviceMigration::weights_of(ExpertId expert) const {
  const auto held = task_->now.experts_of(place_.communicator.rank());
  const auto position = std::find(held.begin(), held.end(), expert);
  if (position != held.end()) return task_->slots[static_cast<std::size_t>(position - held.begin())];
  const auto arrived = arrived_.find(expert);
  return arrived != arrived_.end() ? arrived->second : nullptr;
}

void DeviceMigration::gather_slots() {
  for (const ExpertId expert : task_->next.experts_of(place_.communicator.rank())) {
    next_slots_.push_back(weights_of(expert));
    expects(next_slots_.back() != nullptr, "whatever a rank does not hold has come to it");
  }
}

void DeviceMigration::agree(MigrationWord lowest) {
  if (!state_.is_under_way()) return;
  ++report_.num_steps;
  if (state_.agree(lowest)) cancel();
  report_.state = state_.state();
}

std::optional<std::vector<DeviceExpertWeights>> DeviceMigration::begin_step() {
  if (!state_.begin_step()) return std::nullopt;
  report_.state = state_.state();
  ++report_.num_switched;
  report_.switched_moves += report_.num_moves;
  report_.switched_bytes += report_.num_bytes;
  std::vector<DeviceExpertWeights> slots = std::move(next_slots_);
  let_go();
  return slots;
}

void DeviceMigration::cancel() {
  report_.reason = fmt::format("no progress in {} steps", task_->options.patience_steps);
  try {
    throw_together(place_.communicator, failure_);
  } catch (const Error& error) {
    if (error.scope() != ErrorScope::shared) throw;
    report_.reason = error.what();
  }
  ++report_.num_cancelled;
  if (place_.communicator.rank() == Rank{0}) {
    log(LogLevel::warning, fmt::format("layer {}: the migration from epoch {} to {} is cancelled: {}",
                                       place_.layer, report_.from_epoch, report_.to_epoch, report_.reason));
  }
  let_go();
}

/// Receives are given up, and checksums have been taken, before the memory that they write or read goes;
/// what is still being sent outlives the migration.
void DeviceMigration::let_go() {
  if (task_) {
    using Memory = std::pair<std::shared_ptr<const void>, std::shared_ptr<const DeviceWeightSums>>;
    place_.carrier.keep_until_sent(std::exchange(sending_.requests, {}),
                                   std::make_shared<Memory>(task_->memory, sent_sums_));
  }
  receiving_.requests.clear();
  place_.communicator.waiter().alone().until([&] { return queue_->is_idle(); }, {"checksums of weights"});
  sending_ = {};
  receiving_ = {};
  arrived_.clear();
  next_slots_.clear();
  failure_ = nullptr;
  task_.reset();
  turn_.reset();
}

std::string DeviceMigration::describe(const Move& move) const {
  return fmt::format("the weights of expert {} of layer {} for epoch {} from rank {} to rank {}",
                     number(move.expert), place_.layer, task_->plan.to_epoch, number(move.from),
                     number(move.to));
}

}  // namespace moewe
