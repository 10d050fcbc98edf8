#include "runtime/migration.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <utility>

#include "comm/error.hpp"
#include "comm/log.hpp"
#include "comm/together.hpp"
#include "runtime/weight_audit.hpp"

namespace moewe {
namespace {

/// Whether nothing but ending the job is safe.
bool ends_the_engine(const std::exception_ptr& failure) {
  const ErrorKind kind = kind_of(failure);
  return kind == ErrorKind::communication || kind == ErrorKind::timeout || kind == ErrorKind::peer_failed;
}

}  // namespace

Migration::Migration(const Place& place, std::uint64_t epoch, MakeEpoch make_epoch)
    : place_(place), make_epoch_(std::move(make_epoch)), state_(epoch) {}

void Migration::begin(Task task) {
  let_go();
  task_.emplace(std::move(task));
  turn_ = place_.carrier.take_turn([this] { progress(); });
  const std::size_t per_step = task_->options.bytes_per_step;
  expert_bytes_ = place_.pool.slot_bytes();
  payload_ = std::min({per_step, ChunkCarrier::most_payload, expert_bytes_});
  chunks_per_step_ = std::min(per_step / payload_, ChunkCarrier::window);
  chunks_per_move_ = (expert_bytes_ + payload_ - 1) / payload_;
  const MigrationPlan& plan = task_->plan;
  state_.begin(plan.to_epoch, static_cast<std::int64_t>(plan.num_rounds * chunks_per_move_),
               task_->options.patience_steps);
  report_ = {.state = state_.state(),
             .from_epoch = plan.from_epoch,
             .to_epoch = plan.to_epoch,
             .num_moves = plan.moves.size(),
             .num_bytes = plan.moves.size() * expert_bytes_,
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

void Migration::progress() {
  if (!state_.is_under_way() || state_.has_failed()) return;
  const auto begun = std::chrono::steady_clock::now();
  move_on_or_fail();
  report_.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  report_.state = state_.state();
}

void Migration::move_on_or_fail() {
  try {
    move_on();
  } catch (...) {
    if (ends_the_engine(std::current_exception())) throw;
    fail(std::current_exception());
  }
}

void Migration::move_on() {
  send_chunks();
  receive_chunks();
  if (state_.state() != MigrationState::copying) return;
  finish_rounds();
  state_.advance(pieces_done());
  if (round_ < task_->plan.num_rounds) return;
  build_epoch();
  state_.make_ready();
}

void Migration::enter_round(std::size_t round) {
  const Rank self = place_.communicator.rank();
  round_ = round;
  num_sent_ = num_received_ = 0;
  sending_ = task_->plan.sent_by(self, round);
  receiving_ = task_->plan.received_by(self, round);
}

/// All ranks have done what came before this round.
bool Migration::is_open() const {
  return state_.done_by_all() >= static_cast<std::int64_t>(round_ * chunks_per_move_);
}

bool Migration::has_finished_round() const {
  return (sending_ == nullptr || num_sent_ == chunks_per_move_) &&
         (receiving_ == nullptr || num_received_ == chunks_per_move_);
}

void Migration::finish_rounds() {
  while (round_ < task_->plan.num_rounds && has_finished_round()) enter_round(round_ + 1);
}

std::int64_t Migration::pieces_done() const {
  std::size_t done = round_ * chunks_per_move_;
  if (round_ < task_->plan.num_rounds) {
    const std::size_t sent = sending_ != nullptr ? num_sent_ : chunks_per_move_;
    const std::size_t received = receiving_ != nullptr ? num_received_ : chunks_per_move_;
    done += std::min(sent, received);
  }
  return static_cast<std::int64_t>(done);
}

std::size_t Migration::chunk_length(std::size_t chunk) const {
  return std::min(payload_, expert_bytes_ - chunk * payload_);
}

void Migration::send_chunks() {
  if (sending_ == nullptr || !is_open()) return;
  const std::shared_ptr<const ExpertWeights> weights = weights_of(sending_->expert);
  for (std::size_t n = 0; n < chunks_per_step_ && num_sent_ < chunks_per_move_; ++n) {
    const std::span<std::byte> room = place_.carrier.room_to_send();
    if (room.empty()) return;
    const std::size_t offset = num_sent_ * payload_;
    const std::size_t length = chunk_length(num_sent_);
    weights->read(offset, room.first(length));
    place_.carrier.send(sending_->to,
                        {.serial = turn_->serial,
                         .epoch = task_->plan.to_epoch,
                         .layer = place_.layer,
                         .expert = index(sending_->expert),
                         .offset = offset,
                         .length = length,
                         .checksum = weights->checksum},
                        task_->options.path);
    ++num_sent_;
    report_.sent_bytes += length;
  }
}

void Migration::receive_chunks() {
  const auto expect_more = [&] {
    const bool can_come = receiving_ != nullptr && is_open() && has_slot();
    place_.carrier.expect(can_come ? chunks_per_move_ - num_received_ : 0);
  };
  expect_more();
  place_.carrier.take_arrived([&](const ChunkCarrier::Arrived& chunk) { return take(chunk); });
  expect_more();
}

/// One that retired epochs still hold comes back when their last step is finished.
bool Migration::has_slot() {
  if (slot_ != nullptr || num_received_ == chunks_per_move_) return true;
  if (task_->options.before_arrival) task_->options.before_arrival(receiving_->expert);
  slot_ = place_.pool.take();
  return slot_ != nullptr;
}

bool Migration::take(const ChunkCarrier::Arrived& chunk) {
  if (chunk.header.serial != turn_->serial) return true;  // what is left of one that was cancelled
  require_expected(chunk);
  if (slot_ == nullptr) return false;
  const std::size_t length = chunk_length(num_received_);
  slot_->write(num_received_ * payload_, chunk.bytes.first(length));
  ++num_received_;
  report_.received_bytes += length;
  if (num_received_ == chunks_per_move_) seal_arrived(chunk.header.checksum);
  return true;
}

void Migration::require_expected(const ChunkCarrier::Arrived& chunk) const {
  const ChunkHeader& header = chunk.header;
  const bool may_come = receiving_ != nullptr && is_open() && num_received_ < chunks_per_move_;
  if (may_come && chunk.from == receiving_->from && header.epoch == task_->plan.to_epoch &&
      header.layer == place_.layer && header.expert == index(receiving_->expert) &&
      header.offset == num_received_ * payload_ && header.length == chunk_length(num_received_))
    return;
  const std::string expected =
      may_come ? fmt::format("byte {} of {}", num_received_ * payload_, describe(*receiving_)) : "nothing";
  throw Error(ErrorKind::verification,
              fmt::format("{} bytes from byte {} of expert {} of layer {} for epoch {} came from rank {} to "
                          "rank {}, where {} was to come",
                          header.length, header.offset, header.expert, header.layer, header.epoch,
                          number(chunk.from), number(place_.communicator.rank()), expected));
}

void Migration::seal_arrived(std::uint64_t checksum) {
  slot_->checksum = checksum;
  if (checksum_of(std::as_const(*slot_).bytes()) != checksum) {
    throw Error(ErrorKind::verification,
                fmt::format("{} are not what they were when they were loaded", describe(*receiving_)));
  }
  arrived_.emplace(receiving_->expert, SlotPool::seal(std::move(slot_)));
}

/// Null for an expert that this rank neither holds nor has received.
std::shared_ptr<const ExpertWeights> Migration::weights_of(ExpertId expert) const {
  const auto held = task_->now->placement.experts_of(place_.communicator.rank());
  const auto position = std::find(held.begin(), held.end(), expert);
  if (position != held.end())
    return task_->now->slots.slots[static_cast<std::size_t>(position - held.begin())];
  const auto arrived = arrived_.find(expert);
  return arrived != arrived_.end() ? arrived->second : nullptr;
}

void Migration::build_epoch() {
  SlotTable table;
  for (const ExpertId expert : task_->next.experts_of(place_.communicator.rank())) {
    table.slots.push_back(weights_of(expert));
    expects(table.slots.back() != nullptr, "whatever a rank does not hold has come to it");
  }
  epoch_ = make_epoch_(task_->next, std::move(table));
}

void Migration::agree(MigrationWord lowest) {
  if (!state_.is_under_way()) return;
  ++report_.num_steps;
  if (state_.agree(lowest)) cancel(lowest);
  report_.state = state_.state();
}

std::shared_ptr<const LayerEpoch> Migration::begin_step() {
  if (!state_.begin_step()) return nullptr;
  report_.state = state_.state();
  ++report_.num_switched;
  report_.switched_moves += report_.num_moves;
  report_.switched_bytes += report_.num_bytes;
  std::shared_ptr<const LayerEpoch> epoch = std::move(epoch_);
  let_go();
  return epoch;
}

void Migration::fail(std::exception_ptr failure) {
  state_.fail();
  if (state_.has_failed()) failure_ = std::move(failure);
}

/// Null on a rank that is not the slowest.
std::exception_ptr Migration::why_slow(MigrationWord lowest) const {
  if (lowest < 0 || state_.done() > lowest || round_ >= task_->plan.num_rounds) return nullptr;
  const bool lacks_chunks = receiving_ != nullptr && num_received_ < chunks_per_move_;
  const char* const what = lacks_chunks && slot_ == nullptr ? "a free slot for " : "";
  const Move* const move = lacks_chunks ? receiving_ : sending_;
  return std::make_exception_ptr(
      Error(ErrorKind::timeout,
            fmt::format("no progress in {} steps, waiting for {}{}", task_->options.patience_steps, what,
                        move != nullptr ? describe(*move) : "other ranks")));
}

void Migration::cancel(MigrationWord lowest) {
  if (!failure_) failure_ = why_slow(lowest);
  report_.reason = fmt::format("no progress in {} steps", task_->options.patience_steps);
  try {
    throw_together(place_.communicator, failure_);
  } catch (const Error& error) {
    if (error.scope() != ErrorScope::shared) throw;
    report_.reason = error.what();
  }
  ++report_.num_cancelled;
  place_.carrier.expect_leftovers();
  if (place_.communicator.rank() == Rank{0}) {
    log(LogLevel::warning, fmt::format("layer {}: the migration from epoch {} to {} is cancelled: {}",
                                       place_.layer, report_.from_epoch, report_.to_epoch, report_.reason));
  }
  let_go();
}

void Migration::let_go() {
  sending_ = receiving_ = nullptr;
  slot_.reset();
  arrived_.clear();
  epoch_.reset();
  failure_ = nullptr;
  task_.reset();
  turn_.reset();
}

std::string Migration::describe(const Move& move) const {
  return fmt::format("the weights of expert {} of layer {} for epoch {} from rank {} to rank {}",
                     number(move.expert), place_.layer, task_->plan.to_epoch, number(move.from),
                     number(move.to));
}

}  // namespace moewe
