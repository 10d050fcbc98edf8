#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/buffer.hpp"
#include "runtime/path.hpp"
#include "runtime/paths/transfer.hpp"
#include "runtime/paths/two_level_messages.hpp"

namespace moewe::two_level {

/// The rank of the tokens: sends each node the distinct rows that any of its experts is to compute, once, and
/// receives what the node's relay sends back for each chunk of them.
class Source {
 public:
  /// `peers` are all ranks of some other nodes. Topology and transport outlive the role.
  Source(Rank self, const Topology& topology, std::span<const Rank> peers, MessageTransport& transport,
         MemoryMeter& meter, std::size_t chunk_bytes);

  void plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const;
  void release_memory();

  void dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x);

  /// Appends outputs that have come back since the last call. Returns up to which token all of them are back.
  std::size_t collect_returned(ReturnTable& returned);

  /// Outputs that have not come back.
  void list_missing(MissingParts& missing) const;

  /// True when everything has been sent.
  bool is_done();

 private:
  /// Another node, and what this rank sends to it in a round.
  struct Node {
    std::span<const Rank> ranks;
    Rank relay;
    std::vector<Destination> destinations;  // one per rank
    Counts counts;
    Chunks chunks;
    std::span<std::byte> manifest_bytes;
    Manifest manifest;
    std::vector<std::span<std::byte>> outputs;  // one part per chunk
    std::vector<Transfer> returns;              // the same
    std::size_t num_returned = 0;               // chunks
    Request counts_sent;
    std::vector<Transfer> sends;
  };

  /// Bytes of each kind of memory.
  struct Sizes {
    std::size_t packed_rows;
    std::size_t returned_outputs;
    std::size_t manifests;
  };

  /// Memory of one kind for all nodes of a round: each takes its part in turn.
  struct Pool {
    GrowingBuffer memory;
    std::span<std::byte> rest;

    void reset(std::size_t bytes) { rest = memory.resize<std::byte>(bytes); }
    std::span<std::byte> take(std::size_t bytes);
  };

  Sizes bytes_for(const RoundSizes& sizes) const;
  void number_rows(const DispatchPlan& plan, Node& node);
  void write_manifest(Node& node);
  void receive_outputs(Node& node);
  void send(Node& node, std::span<const std::byte> x);
  PartName name_outputs(const Node& node, std::size_t chunk) const;
  std::size_t returned_bytes(const Node& node, std::size_t chunk) const;
  void add_returned(const Node& node, std::size_t chunk, ReturnTable& returned) const;
  void add_outputs(const Node& node, std::size_t chunk, ReturnTable& returned) const;

  Rank self_;
  MessageTransport& transport_;
  std::size_t chunk_bytes_;
  std::size_t num_peers_;

  Pool packed_rows_;
  Pool returned_outputs_;
  Pool manifests_;
  std::vector<Node> nodes_;  // their messages are given up before the memory is

  RoundShape shape_;
  std::size_t num_tokens_ = 0;
  std::vector<std::uint32_t> row_of_token_;  // of one node at a time
  std::vector<std::uint32_t> token_of_row_;  // the same
};

}  // namespace moewe::two_level
