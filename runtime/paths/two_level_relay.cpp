#include "runtime/paths/two_level_relay.hpp"

#include <cstring>
#include <fmt/format.h>
#include <limits>

#include "comm/error.hpp"

namespace moewe::two_level {

Relay::Relay(Rank self, const Topology& topology, std::span<const Rank> peers, MessageTransport& transport,
             RelaySegment segment, std::size_t chunk_bytes)
    : self_(self),
      node_(topology.node_ranks(self)),
      transport_(transport),
      board_(segment.board),
      chunk_bytes_(chunk_bytes),
      plan_segment_(std::move(segment.plan)),
      canaries_(segment.canaries) {
  for (const Rank source : peers) {
    if (relay_of(topology, source, self) != self) continue;
    incoming_.emplace_back();
    incoming_.back().from = source;
  }
}

std::size_t Relay::most_bytes(const RoundSizes& sizes) const {
  const std::size_t per_source = sizes.most_tokens_of_source;
  const std::size_t tokens = incoming_.size() * per_source;
  const std::size_t rows = std::min(tokens, sizes.most_expected_on_node);
  const std::size_t assignments = std::min(tokens * sizes.top_k, sizes.most_expected_on_node);
  if (rows == 0) return 0;
  const std::size_t chunks =
      incoming_.size() * Chunks::bound(per_source, sizes.sealed_row_bytes(), chunk_bytes_);
  const std::size_t audited = sizes.is_audited
                                  ? Manifest::checksum_bytes(chunks * node_.size(), incoming_.size()) +
                                        incoming_.size() * 3 * Canaries::bytes
                                  : 0;
  return incoming_.size() * 3 * region_alignment + Manifest::bytes_for(chunks, node_.size(), assignments) +
         (rows + assignments) * sizes.sealed_row_bytes() + audited;
}

void Relay::begin(const RoundShape& shape, std::size_t first_offset) {
  shape_ = shape;
  end_offset_ = first_offset;
  for (Incoming& source : incoming_) {
    const Rank from = source.from;
    source = Incoming{};
    source.from = from;
  }
  for (Incoming& source : incoming_) {
    source.announcement = transport_.post_recv(
        source.from, tag(Message::counts, shape_.generation),
        std::as_writable_bytes(std::span(&source.counts, 1)).first(source.counts.sent_bytes(shape.audit)));
  }
}

void Relay::progress() {
  for (Incoming& source : incoming_) advance(source);
}

void Relay::advance(Incoming& source) {
  if (!source.is_announced) {
    if (!source.announcement.is_done()) return;
    read_counts(source);
  }
  if (source.num_sent_back == source.chunks.size()) return;
  const auto name = [&] { return describe(name_next(source)); };
  if (!source.is_manifest_read) {
    if (!source.manifest_transfer.is_done(name)) return;
    read_manifest(source);
  }
  const std::size_t num_shown = source.num_arrived;
  while (source.num_arrived < source.chunks.size() && source.receives[source.num_arrived].is_done(name)) {
    ++source.num_arrived;
  }
  if (source.num_arrived > num_shown) board_.show_arrived(source.from, shape_.generation, source.num_arrived);
  while (source.num_sent_back < source.num_arrived && is_computed(source, source.num_sent_back)) {
    send_back(source, source.num_sent_back++);
  }
}

void Relay::read_counts(Incoming& source) {
  if (shape_.audit.is_on()) source.counts.check(shape_.audit, source.from, self_);
  const auto& [generation, num_rows, num_assignments, checksum] = source.counts;
  if (generation != shape_.generation || num_assignments > shape_.num_expected_on_node ||
      num_rows > num_assignments || (num_rows == 0) != (num_assignments == 0)) {
    throw Error(ErrorKind::verification,
                fmt::format("rank {} announces {} rows with {} assignments of round {} in round {}, in which "
                            "this node expects {} in all",
                            number(source.from), num_rows, num_assignments, generation, shape_.generation,
                            shape_.num_expected_on_node));
  }
  source.is_announced = true;
  if (num_rows > 0) lay_out(source);
}

std::size_t Relay::place(std::size_t bytes, std::string_view region) {
  const std::size_t at = aligned(end_offset_);
  const bool is_audited = shape_.audit.is_on();
  end_offset_ = at + bytes + (is_audited ? Canaries::bytes : 0);
  plan_segment_(end_offset_);
  board_.memory().grow(end_offset_);
  if (is_audited) canaries_.plant(board_.memory().own(), at + bytes, region);
  return at;
}

void Relay::lay_out(Incoming& source) {
  const std::size_t num_assignments = source.counts.num_assignments;
  const std::size_t row_bytes = shape_.sealed_row_bytes();
  source.chunks = Chunks(source.counts.num_rows, row_bytes, chunk_bytes_);
  const std::size_t num_parts = source.chunks.size() * node_.size();
  const std::size_t manifest_bytes =
      Manifest::bytes_for(source.chunks.size(), node_.size(), num_assignments) +
      (shape_.audit.is_on() ? Manifest::checksum_bytes(num_parts, 1) : 0);
  source.manifest_offset = place(manifest_bytes, "manifest");
  source.rows_offset = place(source.counts.num_rows * row_bytes, "token rows");
  source.outputs_offset = shape_.combine == Combine::fast
                              ? source.rows_offset
                              : place(num_assignments * row_bytes, "gathered outputs");

  std::byte* const own = board_.memory().own();
  const auto receive = [&](Message message, std::span<std::byte> bytes) {
    return Transfer::receive(transport_, source.from, tag(message, shape_.generation), bytes, chunk_bytes_);
  };
  source.manifest_transfer = receive(Message::manifest, {own + source.manifest_offset, manifest_bytes});
  std::byte* rows = own + source.rows_offset;
  for (std::size_t chunk = 0; chunk < source.chunks.size(); ++chunk) {
    const std::size_t bytes = source.chunks.num_rows(chunk) * row_bytes;
    source.receives.push_back(receive(Message::rows, {rows, bytes}));
    rows += bytes;
  }
}

void Relay::read_manifest(Incoming& source) {
  source.manifest = Manifest::at(board_.memory().own() + source.manifest_offset, source.chunks.size(),
                                 node_.size(), source.counts.num_assignments);
  if (shape_.audit.is_on()) source.manifest.check(shape_.audit, source.from, self_);
  if (!source.manifest.is_sound(source.chunks)) {
    throw Error(
        ErrorKind::verification,
        fmt::format("rank {} sent a manifest that does not fit the {} rows and {} assignments which it "
                    "announced",
                    number(source.from), source.counts.num_rows, source.counts.num_assignments));
  }
  source.is_manifest_read = true;
  source.num_taken.assign(node_.size(), 0);
  board_.write_letter(
      shape_.audit, source.from,
      {source.counts.num_rows, source.counts.num_assignments, source.manifest_offset, source.rows_offset});
}

bool Relay::is_computed(const Incoming& source, std::size_t chunk) const {
  for (std::size_t rank = 0; rank < node_.size(); ++rank) {
    if (source.manifest.of(chunk, rank).empty()) continue;
    if (board_.num_computed(node_[rank], source.from, shape_.generation) <= chunk) return false;
  }
  return true;
}

void Relay::send_back(Incoming& source, std::size_t chunk) {
  if (shape_.audit.is_on()) source.manifest.check(shape_.audit, source.from, self_);  // since it was read
  std::byte* const to = board_.memory().own() + source.outputs_offset + source.output_bytes;
  const bool is_summed = shape_.combine == Combine::fast;
  const std::size_t bytes = is_summed ? sum_outputs(source, chunk, to) : gather_outputs(source, chunk, to);
  source.output_bytes += bytes;
  source.sends.push_back(Transfer::send(transport_, source.from, tag(Message::outputs, shape_.generation),
                                        {to, bytes}, chunk_bytes_));
}

const std::byte* Relay::next_output(const Incoming& source, std::size_t rank) const {
  return board_.memory().of(node_[rank]) + board_.read_place(shape_.audit, node_[rank], source.from) +
         source.num_taken[rank] * shape_.sealed_row_bytes();
}

std::size_t Relay::gather_outputs(Incoming& source, std::size_t chunk, std::byte* to) const {
  const std::byte* const begin = to;
  for (std::size_t rank = 0; rank < node_.size(); ++rank) {
    const std::size_t count = source.manifest.of(chunk, rank).size();
    if (count == 0) continue;
    const std::size_t bytes = count * shape_.sealed_row_bytes();
    std::memcpy(to, next_output(source, rank), bytes);
    to += bytes;
    source.num_taken[rank] += count;
  }
  return static_cast<std::size_t>(to - begin);
}

/// Each rank's sums lie one behind the other where the outputs of its part of the chunk begin.
std::vector<Relay::Partial> Relay::first_partials(Incoming& source, std::size_t chunk) const {
  std::vector<Partial> partials;
  for (std::size_t rank = 0; rank < node_.size(); ++rank) {
    const auto part = source.manifest.of(chunk, rank);
    const std::byte* const first = part.empty() ? nullptr : next_output(source, rank);
    partials.push_back({node_[rank], first, shape_.checksums_behind(first, part), 0, 0});
    source.num_taken[rank] += part.size();
  }
  return partials;
}

std::size_t Relay::sum_outputs(Incoming& source, std::size_t chunk, std::byte* to) const {
  std::vector<Partial> next = first_partials(source, chunk);
  std::byte* const checksums = to + source.chunks.num_rows(chunk) * shape_.row_bytes();
  std::vector<const std::byte*> sums;
  for_each_row(source.manifest, source.chunks, chunk, [&](std::size_t row, const auto& of_row) {
    sums.clear();
    Partial all{self_, to + row * shape_.row_bytes(), nullptr, 0, std::numeric_limits<std::uint32_t>::max()};
    for (std::size_t rank = 0; rank < node_.size(); ++rank) {
      if (of_row[rank].empty()) continue;
      Partial& partial = next[rank];
      partial.token = all.token = of_row[rank].front().token;
      partial.k = of_row[rank].front().k;
      all.k = std::min(all.k, partial.k);
      sums.push_back(partial.sum);
      if (shape_.audit.is_on()) check_sum(source, partial);
      partial.sum += shape_.row_bytes();
      partial.checksum += shape_.audit.checksum_bytes();
    }
    sum_partial_sums(sums, shape_.format, to + row * shape_.row_bytes());
    if (shape_.audit.is_on()) seal_sum(source, all, checksums + row * shape_.audit.checksum_bytes());
  });
  return source.chunks.num_rows(chunk) * shape_.sealed_row_bytes();
}

void Relay::check_sum(const Incoming& source, const Partial& partial) const {
  shape_.audit.check({Direction::back, source.from, partial.computed_by, partial.token, partial.k},
                     {partial.sum, shape_.row_bytes()}, get_checksum(partial.checksum, 0));
}

void Relay::seal_sum(const Incoming& source, const Partial& sum, std::byte* checksum) const {
  put_checksum(checksum, 0,
               shape_.audit.checksum({Direction::back, source.from, self_, sum.token, sum.k},
                                     {sum.sum, shape_.row_bytes()}));
}

/// What comes next from a source.
PartName Relay::name_next(const Incoming& source) const {
  const std::string what = !source.is_announced ? "the counts"
                           : !source.is_manifest_read
                               ? "the manifest"
                               : "the rows of " + name_tokens(source.manifest.of_chunk(source.num_arrived));
  return {Direction::dispatch, source.from, self_, what};
}

void Relay::list_missing(MissingParts& missing) const {
  for (const Incoming& source : incoming_) {
    const bool is_complete = source.is_announced && source.num_arrived == source.chunks.size();
    if (!is_complete) missing.add(name_next(source));
    if (source.num_sent_back < source.num_arrived) list_missing_outputs(source, missing);
  }
}

void Relay::list_missing_outputs(const Incoming& source, MissingParts& missing) const {
  for (std::size_t rank = 0; rank < node_.size(); ++rank) {
    const auto part = source.manifest.of(source.num_sent_back, rank);
    const bool is_computed =
        board_.num_computed(node_[rank], source.from, shape_.generation) > source.num_sent_back;
    if (part.empty() || is_computed) continue;
    missing.add({Direction::back, node_[rank], self_,
                 fmt::format("the outputs of rank {}'s {}", number(source.from), name_tokens(part))});
  }
}

bool Relay::is_done() {
  return std::all_of(incoming_.begin(), incoming_.end(), [](Incoming& source) {
    return source.is_announced && source.num_sent_back == source.chunks.size() &&
           std::all_of(source.sends.begin(), source.sends.end(),
                       [](Transfer& send) { return send.is_done(); });
  });
}

}  // namespace moewe::two_level
