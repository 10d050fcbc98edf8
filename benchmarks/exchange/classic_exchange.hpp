#pragma once

#include <cstddef>
#include <mpi.h>
#include <span>
#include <vector>

#include "benchmarks/exchange/contest.hpp"
#include "benchmarks/exchange/exchange_case.hpp"
#include "placement/placement.hpp"

namespace moewe::bench {

/// The exchange as it is usually written: rows are permuted into expert order, one copy for each choice, go
/// through MPI_Alltoallv, are computed, come back through MPI_Alltoallv and are put back into token order.
/// Counts travel first, through MPI_Alltoall. Buffers are allocated once.
class ClassicExchange {
 public:
  /// Collective over MPI_COMM_WORLD, which is duplicated. The case outlives this.
  explicit ClassicExchange(const ExchangeCase& exchange);
  ~ClassicExchange();
  ClassicExchange(const ClassicExchange&) = delete;
  ClassicExchange& operator=(const ClassicExchange&) = delete;

  /// Collective and blocking: one round trip. `y` is [num_tokens, hidden].
  RoundTrip run(std::span<float> y);

 private:
  void count();
  void exchange_counts();
  void permute();
  void compute();
  void unpermute(std::span<float> y);
  void all_to_all(const std::vector<std::byte>& from, std::vector<std::byte>& to, bool is_return);

  const ExchangeCase& case_;
  Placement placement_;
  std::size_t rank_ = 0;
  std::size_t num_ranks_ = 0;
  MPI_Comm comm_ = MPI_COMM_NULL;
  MPI_Datatype row_type_ = MPI_DATATYPE_NULL;

  std::vector<std::size_t> place_of_choice_;  // [num_tokens * top_k]: row in expert order
  std::vector<int> sent_per_expert_;          // by global expert
  std::vector<int> received_per_expert_;      // [source][own expert]
  std::vector<int> send_counts_;
  std::vector<int> send_offsets_;
  std::vector<int> receive_counts_;
  std::vector<int> receive_offsets_;
  std::vector<int> expert_counts_sent_;  // for MPI_Alltoallv of the counts
  std::vector<int> expert_offsets_sent_;
  std::vector<int> expert_counts_received_;
  std::vector<int> expert_offsets_received_;
  std::vector<std::byte> sent_;
  std::vector<std::byte> received_;
  std::vector<std::byte> computed_;
  std::vector<std::byte> returned_;
};

}  // namespace moewe::bench
