#include "runtime/paths/message_path.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

enum class Message { counts, manifest, rows, outputs };

/// Counts have one tag for all steps, because their receive is posted before the step is known. The others
/// carry the step, so that none is taken for one of another step.
Tag tag(Message message, std::uint64_t generation) {
  constexpr std::uint64_t distinct_generations = 4096;
  const auto step = message == Message::counts ? 0 : static_cast<int>(generation % distinct_generations);
  return static_cast<Tag>(4 * step + static_cast<int>(message));
}

bool all_done(std::vector<Request>& requests) {
  return std::all_of(requests.begin(), requests.end(), [](Request& request) { return request.is_done(); });
}

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace

struct MessagePath::Outgoing {
  Rank to;
  Destination destination;
  Counts counts{};
  std::vector<Chunk> chunks;
  Buffer rows;
  Buffer outputs;
  std::vector<Request> sends;
  std::vector<Request> returns;  // one per chunk
  std::size_t num_returned = 0;  // chunks
};

struct MessagePath::Incoming {
  Rank from;
  Counts counts{};
  std::vector<PlannedAssignment> manifest;
  Request manifest_request;   // after the memory that it writes to, as are all requests
  std::vector<Chunk> chunks;  // known once the manifest is there
  Buffer rows;
  Buffer outputs;
  std::vector<Request> receives;  // one per chunk
  std::vector<Request> sends;
  std::size_t num_collected = 0;   // chunks
  std::size_t num_given_back = 0;  // chunks
};

MessagePath::MessagePath(std::vector<Rank> peers, std::size_t num_ranks, MessageTransport& transport,
                         MemoryMeter& meter, std::size_t chunk_bytes)
    : peers_(std::move(peers)),
      transport_(transport),
      meter_(meter),
      chunk_bytes_(chunk_bytes),
      incoming_(num_ranks) {
  for (const Rank peer : peers_) {
    outgoing_.push_back(std::make_unique<Outgoing>());
    outgoing_.back()->to = peer;
  }
  if (!peers_.empty()) post_counts();
}

MessagePath::~MessagePath() = default;

std::size_t MessagePath::rows_per_chunk() const {
  return std::max<std::size_t>(1, chunk_bytes_ / shape_.row_bytes);
}

std::vector<MessagePath::Chunk> MessagePath::cut(std::span<const PlannedAssignment> assignments,
                                                 std::size_t num_rows) const {
  std::vector<Chunk> chunks;
  std::size_t next_assignment = 0;
  for (std::size_t row = 0; row < num_rows; row += rows_per_chunk()) {
    Chunk chunk{row, std::min(rows_per_chunk(), num_rows - row), next_assignment, 0};
    while (next_assignment < assignments.size() && assignments[next_assignment].row < row + chunk.num_rows) {
      ++next_assignment;
    }
    chunk.num_assignments = next_assignment - chunk.first_assignment;
    chunks.push_back(chunk);
  }
  return chunks;
}

void MessagePath::dispatch(const StepShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) {
  shape_ = shape;
  active_.clear();
  for (const auto& peer : outgoing_) {
    peer->destination = plan.to(peer->to);
    send_to(*peer, x);
  }
}

void MessagePath::send_to(Outgoing& peer, std::span<const std::byte> x) {
  const auto& [tokens, assignments] = peer.destination;
  peer.sends.clear();
  peer.returns.clear();
  peer.num_returned = 0;
  peer.chunks = cut(assignments, tokens.size());
  if (tokens.empty()) return;

  peer.outputs.reserve(meter_, "message path: returned outputs", assignments.size() * shape_.output_bytes);
  for (const Chunk& chunk : peer.chunks) {
    const std::span outputs(peer.outputs.data() + chunk.first_assignment * shape_.output_bytes,
                            chunk.num_assignments * shape_.output_bytes);
    peer.returns.push_back(transport_.post_recv(peer.to, tag(Message::outputs, shape_.generation), outputs));
  }

  const auto send = [&](Message message, std::span<const std::byte> bytes) {
    peer.sends.push_back(transport_.post_send(peer.to, tag(message, shape_.generation), bytes));
  };
  peer.counts = {shape_.generation, tokens.size(), assignments.size()};
  send(Message::counts, bytes_of(peer.counts));
  send(Message::manifest, std::as_bytes(assignments));
  peer.rows.reserve(meter_, "message path: packed rows", tokens.size() * shape_.row_bytes);
  for (const Chunk& chunk : peer.chunks) {
    std::byte* const first = peer.rows.data() + chunk.first_row * shape_.row_bytes;
    for (std::size_t row = 0; row < chunk.num_rows; ++row) {
      const std::byte* from = x.data() + tokens[chunk.first_row + row] * shape_.row_bytes;
      std::memcpy(first + row * shape_.row_bytes, from, shape_.row_bytes);
    }
    send(Message::rows, {first, chunk.num_rows * shape_.row_bytes});
  }
}

void MessagePath::post_counts() {
  counts_request_ = transport_.post_recv(std::nullopt, tag(Message::counts, 0),
                                         std::as_writable_bytes(std::span(&counts_, 1)));
}

void MessagePath::collect(RowTable& rows) {
  if (peers_.empty()) return;
  transport_.progress();
  while (counts_request_.is_done()) {
    begin_incoming(counts_request_.source());
    post_counts();
  }
  for (Incoming* source : active_) collect_from(*source, rows);
}

void MessagePath::begin_incoming(Rank from) {
  if (counts_.generation != shape_.generation || counts_.num_assignments > shape_.num_expected ||
      counts_.num_rows > counts_.num_assignments || counts_.num_rows == 0) {
    throw Error(ErrorKind::verification,
                fmt::format("rank {} announces {} assignments of step {} in step {}, which expects {} in all",
                            number(from), counts_.num_assignments, counts_.generation, shape_.generation,
                            shape_.num_expected));
  }
  auto& slot = incoming_[index(from)];
  if (!slot) slot = std::make_unique<Incoming>();
  Incoming& source = *slot;
  source.from = from;
  source.counts = counts_;
  source.receives.clear();
  source.sends.clear();
  source.chunks.clear();
  source.num_collected = 0;
  source.num_given_back = 0;
  source.manifest.resize(counts_.num_assignments);
  source.manifest_request = transport_.post_recv(from, tag(Message::manifest, shape_.generation),
                                                 std::as_writable_bytes(std::span(source.manifest)));
  source.rows.reserve(meter_, "message path: received rows", counts_.num_rows * shape_.row_bytes);
  source.outputs.reserve(meter_, "message path: computed outputs",
                         counts_.num_assignments * shape_.output_bytes);
  for (std::size_t row = 0; row < counts_.num_rows; row += rows_per_chunk()) {
    const std::size_t num_rows = std::min<std::size_t>(rows_per_chunk(), counts_.num_rows - row);
    const std::span chunk(source.rows.data() + row * shape_.row_bytes, num_rows * shape_.row_bytes);
    source.receives.push_back(transport_.post_recv(from, tag(Message::rows, shape_.generation), chunk));
  }
  active_.push_back(&source);
}

void MessagePath::collect_from(Incoming& source, RowTable& rows) {
  if (!source.manifest_request.is_done()) return;
  if (source.chunks.empty()) {
    source.chunks = cut(source.manifest, source.counts.num_rows);
    const Chunk& last = source.chunks.back();
    expects(last.first_assignment + last.num_assignments == source.manifest.size(),
            "a manifest is ordered by rows, and names only rows that are sent");
  }
  while (source.num_collected < source.chunks.size() && source.receives[source.num_collected].is_done()) {
    add_chunk(source, source.chunks[source.num_collected], rows);
    ++source.num_collected;
  }
}

void MessagePath::add_chunk(Incoming& source, const Chunk& chunk, RowTable& rows) const {
  const std::span<const PlannedAssignment> manifest(source.manifest);
  rows.add({source.from, manifest.subspan(chunk.first_assignment, chunk.num_assignments), source.rows.data(),
            &PlannedAssignment::row, source.counts.num_rows,
            source.outputs.data() + chunk.first_assignment * shape_.output_bytes});
}

void MessagePath::give_back() {
  for (Incoming* source : active_) {
    for (; source->num_given_back < source->num_collected; ++source->num_given_back) {
      const Chunk& chunk = source->chunks[source->num_given_back];
      const std::span<const std::byte> outputs(
          source->outputs.data() + chunk.first_assignment * shape_.output_bytes,
          chunk.num_assignments * shape_.output_bytes);
      source->sends.push_back(
          transport_.post_send(source->from, tag(Message::outputs, shape_.generation), outputs));
    }
  }
}

void MessagePath::collect_returned(ReturnTable& returned) {
  transport_.progress();
  for (const auto& peer : outgoing_) {
    while (peer->num_returned < peer->returns.size() && peer->returns[peer->num_returned].is_done()) {
      const Chunk& chunk = peer->chunks[peer->num_returned];
      returned.add(peer->destination.assignments.subspan(chunk.first_assignment, chunk.num_assignments),
                   peer->outputs.data() + chunk.first_assignment * shape_.output_bytes, shape_.output_bytes);
      ++peer->num_returned;
    }
  }
}

bool MessagePath::is_idle() {
  transport_.progress();
  return std::all_of(outgoing_.begin(), outgoing_.end(), [](auto& peer) { return all_done(peer->sends); }) &&
         std::all_of(active_.begin(), active_.end(),
                     [](Incoming* source) { return all_done(source->sends); });
}

}  // namespace moewe
