#include "runtime/paths/message_path.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <functional>

#include "comm/error.hpp"
#include "runtime/paths/message_peers.hpp"
#include "runtime/paths/packed_rows.hpp"

namespace moewe {
namespace {

enum class Message { counts, manifest, rows, outputs };

/// Counts have one tag for all rounds, because their receive is posted before the round is known. The others
/// carry the round, so that none is taken for one of another.
Tag tag(Message message, std::uint64_t generation) {
  constexpr std::uint64_t distinct_generations = 4096;
  const auto round = message == Message::counts ? 0 : static_cast<int>(generation % distinct_generations);
  return static_cast<Tag>(4 * round + static_cast<int>(message));
}

bool all_done(std::vector<Transfer>& transfers) {
  return std::all_of(transfers.begin(), transfers.end(),
                     [](Transfer& transfer) { return transfer.is_done(); });
}

}  // namespace

MessagePath::MessagePath(Rank self, const std::vector<Peer>& peers, MessageTransport& transport,
                         MemoryMeter& meter)
    : self_(self), transport_(transport), pools_(meter) {
  for (const Peer& peer : peers) {
    outgoing_.push_back(std::make_unique<Outgoing>());
    outgoing_.back()->to = peer.rank;
    outgoing_.back()->chunk_bytes = peer.chunk_bytes;
  }
  // Every rank begins with another one.
  const auto is_before = [&](const auto& peer) { return peer->to < self_; };
  std::stable_partition(outgoing_.begin(), outgoing_.end(), std::not_fn(is_before));
  if (!outgoing_.empty()) post_counts();
}

MessagePath::~MessagePath() = default;

void MessagePath::plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const {
  if (!outgoing_.empty()) MessagePools::plan(sizes, memory);
}

void MessagePath::release_memory() { pools_.release(); }

std::size_t MessagePath::rows_per_chunk(std::size_t chunk_bytes) const {
  return std::max<std::size_t>(1, chunk_bytes / shape_.sealed_row_bytes());
}

std::size_t MessagePath::chunk_bytes_of(Rank peer) const {
  const auto found = std::find_if(outgoing_.begin(), outgoing_.end(),
                                  [&](const auto& outgoing) { return outgoing->to == peer; });
  if (found != outgoing_.end()) return (*found)->chunk_bytes;
  throw Error(ErrorKind::verification, fmt::format("rank {}, which is no peer, sent rows", number(peer)));
}

std::size_t MessagePath::returned_bytes(std::span<const PlannedAssignment> manifest,
                                        const Chunk& chunk) const {
  const auto assignments = manifest.subspan(chunk.first_assignment, chunk.num_assignments);
  return shape_.num_returned(assignments) * shape_.sealed_row_bytes();
}

std::vector<MessagePath::Chunk> MessagePath::cut(std::span<const PlannedAssignment> assignments,
                                                 std::size_t num_rows, std::size_t chunk_bytes) const {
  std::vector<Chunk> chunks;
  std::size_t next_assignment = 0;
  const std::size_t most_rows = rows_per_chunk(chunk_bytes);
  for (std::size_t row = 0; row < num_rows; row += most_rows) {
    Chunk chunk{row, std::min(most_rows, num_rows - row), next_assignment, 0};
    while (next_assignment < assignments.size() && assignments[next_assignment].row < row + chunk.num_rows) {
      ++next_assignment;
    }
    chunk.num_assignments = next_assignment - chunk.first_assignment;
    chunks.push_back(chunk);
  }
  return chunks;
}

void MessagePath::dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) {
  shape_ = shape;
  num_tokens_ = plan.num_tokens();
  incoming_.clear();
  if (!outgoing_.empty()) pools_.begin(sizes_of(shape, plan, self_));
  for (const auto& peer : outgoing_) {
    peer->destination = plan.to(peer->to);
    announce(*peer);
  }
  for (const auto& peer : outgoing_) {
    post_returns(*peer);
    send_rows(*peer, x);
  }
}

/// Before rows go to anybody, so that all can post receives for theirs.
void MessagePath::announce(Outgoing& peer) {
  const auto& [tokens, assignments] = peer.destination;
  peer.sends.clear();
  peer.chunks = cut(assignments, tokens.size(), peer.chunk_bytes);
  if (tokens.empty()) return;
  Announcement& announcement = peer.announcement;
  announcement.counts = {shape_.generation, tokens.size(), assignments.size()};
  const bool holds_manifest = announcement.holds_manifest(peer.chunk_bytes);
  if (holds_manifest) std::copy(assignments.begin(), assignments.end(), announcement.manifest.begin());
  const bool is_audited = shape_.audit.is_on();
  if (is_audited) announcement.seal(peer.chunk_bytes, shape_.audit, peer.to, assignments);
  peer.announced = transport_.post_send(
      peer.to, tag(Message::counts, 0),
      is_audited ? announcement.sealed_bytes(peer.chunk_bytes) : announcement.bytes(peer.chunk_bytes));
  if (holds_manifest) return;
  peer.sends.push_back(Transfer::send(transport_, peer.to, tag(Message::manifest, shape_.generation),
                                      std::as_bytes(assignments), peer.chunk_bytes));
}

void MessagePath::post_returns(Outgoing& peer) {
  peer.returns.clear();
  peer.outputs.clear();
  peer.num_returned = 0;
  for (const Chunk& chunk : peer.chunks) {
    const std::size_t bytes = returned_bytes(peer.destination.assignments, chunk);
    const std::span<std::byte> outputs = pools_.take(MessagePools::returned_outputs, bytes, self_);
    peer.outputs.push_back(outputs);
    peer.returns.push_back(Transfer::receive(transport_, peer.to, tag(Message::outputs, shape_.generation),
                                             outputs, peer.chunk_bytes));
  }
}

void MessagePath::send_rows(Outgoing& peer, std::span<const std::byte> x) {
  for (const Chunk& chunk : peer.chunks) {
    const std::span<std::byte> rows =
        pools_.take(MessagePools::packed_rows, chunk.num_rows * shape_.sealed_row_bytes(), self_);
    pack_rows(shape_, peer.destination.tokens.subspan(chunk.first_row, chunk.num_rows), x, rows.data());
    peer.sends.push_back(
        Transfer::send(transport_, peer.to, tag(Message::rows, shape_.generation), rows, peer.chunk_bytes));
  }
}

void MessagePath::post_counts() {
  counts_request_ = transport_.post_recv(std::nullopt, tag(Message::counts, 0),
                                         std::as_writable_bytes(std::span(&announcement_, 1)));
}

/// Receives of rows are posted as soon as they are announced.
void MessagePath::progress() {
  if (outgoing_.empty()) return;
  while (counts_request_.is_done()) {  // of which there is always one that is not: so messages move along
    begin_incoming(counts_request_.source());
    post_counts();
  }
}

void MessagePath::collect(RowTable& rows) {
  progress();
  for (const auto& source : incoming_) collect_from(*source, rows);
}

void MessagePath::begin_incoming(Rank from) {
  const Announcement::Counts& counts = announcement_.counts;
  const std::size_t chunk_bytes = chunk_bytes_of(from);
  const std::uint64_t manifest_checksum =
      shape_.audit.is_on() ? announcement_.check(chunk_bytes, shape_.audit, from) : 0;
  if (counts.generation != shape_.generation || counts.num_assignments > shape_.num_expected ||
      counts.num_rows > counts.num_assignments || counts.num_rows == 0) {
    throw Error(
        ErrorKind::verification,
        fmt::format("rank {} announces {} assignments of round {} in round {}, which expects {} in all",
                    number(from), counts.num_assignments, counts.generation, shape_.generation,
                    shape_.num_expected));
  }
  const bool is_second = std::any_of(incoming_.begin(), incoming_.end(),
                                     [&](const auto& source) { return source->from == from; });
  if (is_second) {
    throw Error(ErrorKind::verification,
                fmt::format("rank {} announces its rows of round {} twice", number(from), shape_.generation));
  }
  incoming_.push_back(std::make_unique<Incoming>());
  Incoming& source = *incoming_.back();
  source.from = from;
  source.chunk_bytes = chunk_bytes;
  source.manifest_checksum = manifest_checksum;
  source.counts = counts;
  const std::span<std::byte> manifest =
      pools_.take(MessagePools::manifests, counts.num_assignments * sizeof(PlannedAssignment), from);
  source.manifest = {reinterpret_cast<PlannedAssignment*>(manifest.data()), counts.num_assignments};
  if (announcement_.holds_manifest(source.chunk_bytes)) {
    std::copy_n(announcement_.manifest.begin(), counts.num_assignments, source.manifest.begin());
  } else {
    source.manifest_received = Transfer::receive(transport_, from, tag(Message::manifest, shape_.generation),
                                                 manifest, source.chunk_bytes);
  }
  source.rows = pools_.take(MessagePools::received_rows, counts.num_rows * shape_.sealed_row_bytes(), from);
  source.outputs =
      pools_.take(MessagePools::computed_outputs, counts.num_assignments * shape_.sealed_row_bytes(), from);
  const std::size_t most_rows = rows_per_chunk(source.chunk_bytes);
  for (std::size_t row = 0; row < counts.num_rows; row += most_rows) {
    const std::size_t num_rows = std::min<std::size_t>(most_rows, counts.num_rows - row);
    const std::span chunk =
        source.rows.subspan(row * shape_.sealed_row_bytes(), num_rows * shape_.sealed_row_bytes());
    source.receives.push_back(Transfer::receive(transport_, from, tag(Message::rows, shape_.generation),
                                                chunk, source.chunk_bytes));
  }
}

void MessagePath::collect_from(Incoming& source, RowTable& rows) {
  const auto name = [&] { return describe(name_rows(source, source.num_collected)); };
  if (!source.manifest_received.is_done(name)) return;
  if (source.chunks.empty()) {
    if (shape_.audit.is_on()) {
      shape_.audit.check(Announcement::manifest_label(source.from, self_), {std::as_bytes(source.manifest)},
                         source.manifest_checksum);
    }
    source.chunks = cut(source.manifest, source.counts.num_rows, source.chunk_bytes);
    const Chunk& last = source.chunks.back();
    expects(last.first_assignment + last.num_assignments == source.manifest.size(),
            "a manifest is ordered by rows, and names only rows that are sent");
  }
  while (source.num_collected < source.chunks.size() && source.receives[source.num_collected].is_done(name)) {
    add_chunk(source, source.chunks[source.num_collected], rows);
    ++source.num_collected;
  }
}

void MessagePath::add_chunk(Incoming& source, const Chunk& chunk, RowTable& rows) const {
  const std::span<const PlannedAssignment> manifest(source.manifest);
  const PackedRows packed = packed_rows(shape_, source.rows.data(), chunk.first_row, chunk.num_rows);
  rows.add({source.from, manifest.subspan(chunk.first_assignment, chunk.num_assignments), packed.inputs,
            &PlannedAssignment::row, source.counts.num_rows,
            source.outputs.data() + chunk.first_assignment * shape_.sealed_row_bytes(), packed.checksums});
}

void MessagePath::give_back() {
  for (const auto& source : incoming_) {
    for (; source->num_given_back < source->num_collected; ++source->num_given_back) {
      const Chunk& chunk = source->chunks[source->num_given_back];
      const std::span<const std::byte> outputs(
          source->outputs.data() + chunk.first_assignment * shape_.sealed_row_bytes(),
          returned_bytes(source->manifest, chunk));
      source->sends.push_back(Transfer::send(
          transport_, source->from, tag(Message::outputs, shape_.generation), outputs, source->chunk_bytes));
    }
  }
}

std::size_t MessagePath::collect_returned(ReturnTable& returned) {
  std::size_t complete = num_tokens_;
  for (const auto& peer : outgoing_) {
    const auto name = [&] { return describe(name_outputs(*peer, peer->num_returned)); };
    while (peer->num_returned < peer->returns.size() && peer->returns[peer->num_returned].is_done(name)) {
      const Chunk& chunk = peer->chunks[peer->num_returned];
      const auto assignments =
          peer->destination.assignments.subspan(chunk.first_assignment, chunk.num_assignments);
      const std::byte* const outputs = peer->outputs[peer->num_returned].data();
      returned.add({peer->to, assignments, outputs, shape_.checksums_behind(outputs, assignments)},
                   shape_.row_bytes());
      ++peer->num_returned;
    }
    if (peer->num_returned == peer->returns.size()) continue;
    const Chunk& next = peer->chunks[peer->num_returned];
    const std::size_t token = peer->destination.assignments[next.first_assignment].token;
    complete = std::min(complete, token);
  }
  return complete;
}

/// Nobody knows whose rows have not been announced.
std::optional<Rank> MessagePath::awaits_rows_of() const {
  for (const auto& source : incoming_) {
    if (source->num_collected < source->receives.size()) return source->from;
  }
  return std::nullopt;
}

std::optional<Rank> MessagePath::awaits_outputs_of() const {
  for (const auto& peer : outgoing_) {
    if (peer->num_returned < peer->returns.size()) return peer->to;
  }
  return std::nullopt;
}

std::optional<Rank> MessagePath::awaits_taking_by() const {
  for (const auto& peer : outgoing_) {
    if (!peer->announced.is_done() || !all_done(peer->sends)) return peer->to;
  }
  for (const auto& source : incoming_) {
    if (!all_done(source->sends)) return source->from;
  }
  return std::nullopt;
}

bool MessagePath::is_idle() {
  return std::all_of(outgoing_.begin(), outgoing_.end(),
                     [](auto& peer) { return peer->announced.is_done() && all_done(peer->sends); }) &&
         std::all_of(incoming_.begin(), incoming_.end(),
                     [](auto& source) { return all_done(source->sends); });
}

}  // namespace moewe
