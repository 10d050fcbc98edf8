#include "runtime/paths/two_level_messages.hpp"

namespace moewe::two_level {
namespace {

constexpr int num_kinds = 4;

PartLabel counts_label(Rank source, Rank relay) { return {"dispatch: the counts", source, relay}; }
PartLabel manifest_label(Rank source, Rank relay) { return {"dispatch: the manifest", source, relay}; }
PartLabel part_label(Rank source, Rank expert) {
  return {"dispatch: a part of the manifest", source, expert};
}

}  // namespace

Rank relay_of(const Topology& topology, Rank source, Rank anyone_there) {
  const auto here = topology.node_ranks(source);
  const auto there = topology.node_ranks(anyone_there);
  const auto position = std::find(here.begin(), here.end(), source) - here.begin();
  return there[static_cast<std::size_t>(position) % there.size()];
}

Tag tag(Message message, std::uint64_t generation) {
  constexpr std::uint64_t distinct_generations = 4096;
  return static_cast<Tag>(num_kinds * static_cast<int>(generation % distinct_generations) +
                          static_cast<int>(message));
}

Message message_of(Tag tag) { return static_cast<Message>(static_cast<int>(tag) % num_kinds); }

Manifest Manifest::at(const std::byte* begin, std::size_t num_chunks, std::size_t num_ranks,
                      std::size_t num_assignments) {
  const std::byte* assignments = begin + ends_bytes(num_chunks, num_ranks);
  return {num_ranks,
          {reinterpret_cast<const std::uint32_t*>(begin), num_chunks * num_ranks},
          {reinterpret_cast<const PlannedAssignment*>(assignments), num_assignments}};
}

std::uint64_t Counts::checksum_in(const RoundAudit& audit, Rank source, Rank relay) const {
  return audit.checksum(counts_label(source, relay),
                        {bytes_of_value(*this).first(sizeof(Counts) - sizeof checksum)});
}

void Counts::check(const RoundAudit& audit, Rank source, Rank relay) const {
  audit.check(counts_label(source, relay), {bytes_of_value(*this).first(sizeof(Counts) - sizeof checksum)},
              checksum);
}

void Manifest::seal(const RoundAudit& audit, std::span<const Rank> ranks, Rank relay) const {
  auto* const to = const_cast<std::byte*>(checksums());
  for (std::size_t part = 0; part < ends.size(); ++part) {
    const PartLabel label = part_label(audit.self(), ranks[part % num_ranks]);
    put_checksum(to, part, audit.checksum(label, {std::as_bytes(between(part, part + 1))}));
  }
  const std::span<const std::byte> all(unsealed().data(), to + ends.size() * sizeof(std::uint64_t));
  put_checksum(to, ends.size(), audit.checksum(manifest_label(audit.self(), relay), {all}));
}

void Manifest::check(const RoundAudit& audit, Rank source, Rank relay) const {
  const std::byte* const end = checksums() + ends.size() * sizeof(std::uint64_t);
  audit.check(manifest_label(source, relay), {{unsealed().data(), end}}, get_checksum(end, 0));
}

void Manifest::check_part(const RoundAudit& audit, Rank source, std::size_t number,
                          std::span<const PlannedAssignment> part) const {
  audit.check(part_label(source, audit.self()), {std::as_bytes(part)}, get_checksum(checksums(), number));
}

bool Manifest::is_sound(const Chunks& chunks) const {
  if (!std::is_sorted(ends.begin(), ends.end()) || ends.back() != assignments.size()) return false;
  bool is_every_row_used = true;
  for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    std::size_t num_seen = 0;
    for_each_row(*this, chunks, chunk, [&](std::size_t, const auto& of_row) {
      const std::size_t before = num_seen;
      for (const auto& part : of_row) num_seen += part.size();
      is_every_row_used = is_every_row_used && num_seen > before;
    });
    if (num_seen != of_chunk(chunk).size()) return false;
  }
  return is_every_row_used;
}

}  // namespace moewe::two_level
