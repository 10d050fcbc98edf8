#include "runtime/paths/two_level_source.hpp"

#include <limits>

#include "comm/error.hpp"
#include "runtime/paths/packed_rows.hpp"

namespace moewe::two_level {
namespace {

constexpr std::string_view packed_rows_name = "two-level path: packed rows";
constexpr std::string_view returned_outputs_name = "two-level path: returned outputs";
constexpr std::string_view manifests_name = "two-level path: sent manifests";

constexpr std::uint32_t no_row = std::numeric_limits<std::uint32_t>::max();

}  // namespace

Source::Source(Rank self, const Topology& topology, std::span<const Rank> peers, MessageTransport& transport,
               MemoryMeter& meter, std::size_t chunk_bytes)
    : self_(self),
      transport_(transport),
      chunk_bytes_(chunk_bytes),
      num_peers_(peers.size()),
      packed_rows_{GrowingBuffer(meter, packed_rows_name), {}},
      returned_outputs_{GrowingBuffer(meter, returned_outputs_name), {}},
      manifests_{GrowingBuffer(meter, manifests_name), {}} {
  for (const Rank peer : peers) {
    const auto ranks = topology.node_ranks(peer);
    if (ranks.front() != peer) continue;
    nodes_.emplace_back();
    nodes_.back().ranks = ranks;
    nodes_.back().relay = relay_of(topology, self, peer);
  }
  // Not all sources begin with the same node.
  const auto next = std::find_if(nodes_.begin(), nodes_.end(),
                                 [&](const Node& node) { return node.ranks.front() > self_; });
  std::rotate(nodes_.begin(), next, nodes_.end());
}

std::span<std::byte> Source::Pool::take(std::size_t bytes) {
  expects(bytes <= rest.size(), "no node needs more than was planned for all of them");
  const std::span<std::byte> taken = rest.first(bytes);
  rest = rest.subspan(bytes);
  return taken;
}

/// A token has at most one row per node, and every row an assignment. How many assignments share a row is not
/// known yet.
Source::Sizes Source::bytes_for(const RoundSizes& sizes) const {
  const std::size_t sent = sizes.num_assigned_elsewhere;
  const std::size_t rows = std::min(sent, sizes.num_tokens);
  const std::size_t chunks = Chunks::bound(rows, sizes.sealed_row_bytes(), chunk_bytes_);
  const std::size_t checksums =
      sizes.is_audited ? Manifest::checksum_bytes(chunks * num_peers_, nodes_.size()) : 0;
  return {.packed_rows = std::min(sent, sizes.num_tokens * nodes_.size()) * sizes.sealed_row_bytes(),
          .returned_outputs = sent * sizes.sealed_row_bytes(),
          .manifests = Manifest::bytes_for(chunks, num_peers_, sent) + checksums};
}

void Source::plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const {
  const Sizes bytes = bytes_for(sizes);
  memory.add(packed_rows_name, bytes.packed_rows);
  memory.add(returned_outputs_name, bytes.returned_outputs);
  memory.add(manifests_name, bytes.manifests);
}

void Source::release_memory() {
  for (Pool* pool : {&packed_rows_, &returned_outputs_, &manifests_}) pool->memory.release();
}

void Source::dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) {
  shape_ = shape;
  num_tokens_ = plan.num_tokens();
  const Sizes bytes = bytes_for(sizes_of(shape, plan, self_));
  packed_rows_.reset(bytes.packed_rows);
  returned_outputs_.reset(bytes.returned_outputs);
  manifests_.reset(bytes.manifests);
  for (Node& node : nodes_) {
    number_rows(plan, node);
    write_manifest(node);
    receive_outputs(node);
    send(node, x);
  }
}

void Source::number_rows(const DispatchPlan& plan, Node& node) {
  node.destinations.clear();
  node.counts = {shape_.generation, 0, 0, 0};
  row_of_token_.assign(plan.num_tokens(), no_row);
  for (const Rank rank : node.ranks) {
    node.destinations.push_back(plan.to(rank));
    node.counts.num_assignments += node.destinations.back().assignments.size();
    for (const std::uint32_t token : node.destinations.back().tokens) row_of_token_[token] = 0;
  }
  token_of_row_.clear();
  for (std::uint32_t token = 0; token < row_of_token_.size(); ++token) {
    if (row_of_token_[token] == no_row) continue;
    row_of_token_[token] = static_cast<std::uint32_t>(token_of_row_.size());
    token_of_row_.push_back(token);
  }
  node.counts.num_rows = token_of_row_.size();
  if (shape_.audit.is_on()) node.counts.checksum = node.counts.checksum_in(shape_.audit, self_, node.relay);
  node.chunks = Chunks(token_of_row_.size(), shape_.sealed_row_bytes(), chunk_bytes_);
}

void Source::write_manifest(Node& node) {
  const std::size_t num_chunks = node.chunks.size();
  const std::size_t num_ranks = node.ranks.size();
  const bool is_sealed = shape_.audit.is_on() && num_chunks > 0;
  const std::size_t checksums = is_sealed ? Manifest::checksum_bytes(num_chunks * num_ranks, 1) : 0;
  node.manifest_bytes =
      manifests_.take(Manifest::bytes_for(num_chunks, num_ranks, node.counts.num_assignments) + checksums);
  node.manifest =
      Manifest::at(node.manifest_bytes.data(), num_chunks, num_ranks, node.counts.num_assignments);
  auto* end = reinterpret_cast<std::uint32_t*>(node.manifest_bytes.data());
  auto* const first = reinterpret_cast<PlannedAssignment*>(node.manifest_bytes.data() +
                                                           Manifest::ends_bytes(num_chunks, num_ranks));
  PlannedAssignment* next = first;
  std::vector<std::size_t> num_written(num_ranks, 0);
  for (std::size_t chunk = 0; chunk < num_chunks; ++chunk) {
    for (std::size_t rank = 0; rank < num_ranks; ++rank) {
      const auto rest = node.destinations[rank].assignments.subspan(num_written[rank]);
      for (const PlannedAssignment& assignment : rest) {
        const std::uint32_t row = row_of_token_[assignment.token];
        if (row >= node.chunks.end_row(chunk)) break;
        *next = assignment;
        next++->row = row;
        ++num_written[rank];
      }
      *end++ = static_cast<std::uint32_t>(next - first);
    }
  }
  if (is_sealed) node.manifest.seal(shape_.audit, node.ranks, node.relay);
}

std::size_t Source::returned_bytes(const Node& node, std::size_t chunk) const {
  const bool is_summed = shape_.combine == Combine::fast;
  return (is_summed ? node.chunks.num_rows(chunk) : node.manifest.of_chunk(chunk).size()) *
         shape_.sealed_row_bytes();
}

void Source::receive_outputs(Node& node) {
  node.outputs.clear();
  node.returns.clear();
  node.num_returned = 0;
  for (std::size_t chunk = 0; chunk < node.chunks.size(); ++chunk) {
    node.outputs.push_back(returned_outputs_.take(returned_bytes(node, chunk)));
    node.returns.push_back(Transfer::receive(transport_, node.relay, tag(Message::outputs, shape_.generation),
                                             node.outputs.back(), chunk_bytes_));
  }
}

void Source::send(Node& node, std::span<const std::byte> x) {
  node.sends.clear();
  node.counts_sent =
      transport_.post_send(node.relay, tag(Message::counts, shape_.generation),
                           bytes_of_value(node.counts).first(node.counts.sent_bytes(shape_.audit)));
  const auto post = [&](Message message, std::span<const std::byte> bytes) {
    node.sends.push_back(
        Transfer::send(transport_, node.relay, tag(message, shape_.generation), bytes, chunk_bytes_));
  };
  post(Message::manifest, node.manifest_bytes);
  for (std::size_t chunk = 0; chunk < node.chunks.size(); ++chunk) {
    const std::size_t num_rows = node.chunks.num_rows(chunk);
    const std::span<std::byte> rows = packed_rows_.take(num_rows * shape_.sealed_row_bytes());
    const std::span<const std::uint32_t> tokens(token_of_row_);
    pack_rows(shape_, tokens.subspan(node.chunks.first_row(chunk), num_rows), x, rows.data());
    post(Message::rows, rows);
  }
}

std::size_t Source::collect_returned(ReturnTable& returned) {
  std::size_t complete = num_tokens_;
  for (Node& node : nodes_) {
    const auto name = [&] { return describe(name_outputs(node, node.num_returned)); };
    while (node.num_returned < node.returns.size() && node.returns[node.num_returned].is_done(name)) {
      add_returned(node, node.num_returned, returned);
      ++node.num_returned;
    }
    if (node.num_returned == node.returns.size()) continue;
    for (const PlannedAssignment& assignment : node.manifest.of_chunk(node.num_returned))
      complete = std::min<std::size_t>(complete, assignment.token);
  }
  return complete;
}

void Source::add_returned(const Node& node, std::size_t chunk, ReturnTable& returned) const {
  const std::byte* outputs = node.outputs[chunk].data();
  if (shape_.combine == Combine::reproducible) return add_outputs(node, chunk, returned);
  const std::byte* const checksums = shape_.checksums_behind(outputs, node.chunks.num_rows(chunk));
  for_each_row(node.manifest, node.chunks, chunk, [&](std::size_t row, const auto& of_row) {
    std::uint32_t token = 0;
    std::uint32_t first_k = no_row;
    std::size_t count = 0;
    for (const auto& part : of_row) {
      for (const PlannedAssignment& assignment : part) {
        token = assignment.token;
        first_k = std::min(first_k, assignment.k);
      }
      count += part.size();
    }
    returned.add_sum({Direction::back, self_, node.relay, token, first_k},
                     {outputs + row * shape_.row_bytes(), shape_.row_bytes()},
                     checksums + row * shape_.audit.checksum_bytes(), count);
  });
}

void Source::add_outputs(const Node& node, std::size_t chunk, ReturnTable& returned) const {
  const std::byte* next = node.outputs[chunk].data();
  for (std::size_t rank = 0; rank < node.ranks.size(); ++rank) {
    const auto part = node.manifest.of(chunk, rank);
    returned.add({node.ranks[rank], part, next, shape_.checksums_behind(next, part)}, shape_.row_bytes());
    next += part.size() * shape_.sealed_row_bytes();
  }
}

PartName Source::name_outputs(const Node& node, std::size_t chunk) const {
  return {Direction::back, node.relay, self_, "the outputs of " + name_tokens(node.manifest.of_chunk(chunk))};
}

void Source::list_missing(MissingParts& missing) const {
  for (const Node& node : nodes_) {
    if (node.num_returned < node.returns.size()) missing.add(name_outputs(node, node.num_returned));
  }
}

bool Source::is_done() {
  return std::all_of(nodes_.begin(), nodes_.end(), [](Node& node) {
    return node.counts_sent.is_done() &&
           std::all_of(node.sends.begin(), node.sends.end(), [](Transfer& send) { return send.is_done(); });
  });
}

}  // namespace moewe::two_level
