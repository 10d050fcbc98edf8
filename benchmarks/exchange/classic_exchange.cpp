#include "benchmarks/exchange/classic_exchange.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "benchmarks/exchange/cheap_expert.hpp"
#include "comm/error.hpp"
#include "runtime/kernels/copy.hpp"
#include "runtime/kernels/weighted_sum.hpp"

namespace moewe::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t least_to_stream = std::size_t{4} << 20U;

/// Past the caches where what is written would not stay in them.
Stores stores_for(std::size_t bytes) { return bytes >= least_to_stream ? Stores::streaming : Stores::cached; }

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

void check(int code) {
  if (code != MPI_SUCCESS) throw Error(ErrorKind::communication, "MPI failed in the classic exchange");
}

std::vector<int> offsets_of(const std::vector<int>& counts) {
  std::vector<int> offsets(counts.size());
  std::exclusive_scan(counts.begin(), counts.end(), offsets.begin(), 0);
  return offsets;
}

std::size_t sum(const std::vector<int>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::size_t{0});
}

}  // namespace

ClassicExchange::ClassicExchange(const ExchangeCase& exchange)
    : case_(exchange), placement_([&] {
        int size = 0;
        check(MPI_Comm_size(MPI_COMM_WORLD, &size));
        return contiguous_placement(exchange.num_experts, static_cast<std::size_t>(size));
      }()) {
  check(MPI_Comm_dup(MPI_COMM_WORLD, &comm_));
  int rank = 0;
  check(MPI_Comm_rank(comm_, &rank));
  rank_ = static_cast<std::size_t>(rank);
  num_ranks_ = placement_.num_ranks();
  check(MPI_Type_contiguous(static_cast<int>(case_.format.bytes()), MPI_BYTE, &row_type_));
  check(MPI_Type_commit(&row_type_));
  const auto own = static_cast<int>(placement_.experts_of(rank_at(rank_)).size());
  for (std::size_t r = 0; r < num_ranks_; ++r) {
    expert_counts_sent_.push_back(static_cast<int>(placement_.experts_of(rank_at(r)).size()));
  }
  expert_offsets_sent_ = offsets_of(expert_counts_sent_);
  expert_counts_received_.assign(num_ranks_, own);
  expert_offsets_received_ = offsets_of(expert_counts_received_);
  sent_per_expert_.resize(case_.num_experts);
  received_per_expert_.resize(num_ranks_ * static_cast<std::size_t>(own));
  place_of_choice_.resize(case_.num_tokens * case_.top_k);
  sent_.resize(place_of_choice_.size() * case_.format.bytes());
  returned_.resize(sent_.size());
}

ClassicExchange::~ClassicExchange() {
  MPI_Type_free(&row_type_);
  MPI_Comm_free(&comm_);
}

RoundTrip ClassicExchange::run(std::span<float> y) {
  const auto start = Clock::now();
  count();
  exchange_counts();
  permute();
  all_to_all(sent_, received_, false);
  const auto dispatched = Clock::now();
  compute();
  const auto computed = Clock::now();
  all_to_all(computed_, returned_, true);
  unpermute(y);
  const auto end = Clock::now();
  return {seconds_between(start, end), seconds_between(start, dispatched), seconds_between(computed, end)};
}

/// A counting sort by expert: contiguous placement makes that the order of ranks, too.
void ClassicExchange::count() {
  std::fill(sent_per_expert_.begin(), sent_per_expert_.end(), 0);
  for (const ExpertId expert : case_.experts) ++sent_per_expert_[index(expert)];
  std::vector<std::size_t> next(case_.num_experts, 0);
  for (std::size_t e = 1; e < next.size(); ++e)
    next[e] = next[e - 1] + static_cast<std::size_t>(sent_per_expert_[e - 1]);
  for (std::size_t i = 0; i < case_.experts.size(); ++i)
    place_of_choice_[i] = next[index(case_.experts[i])]++;
}

void ClassicExchange::exchange_counts() {
  check(MPI_Alltoallv(sent_per_expert_.data(), expert_counts_sent_.data(), expert_offsets_sent_.data(),
                      MPI_INT, received_per_expert_.data(), expert_counts_received_.data(),
                      expert_offsets_received_.data(), MPI_INT, comm_));
  send_counts_.assign(num_ranks_, 0);
  receive_counts_.assign(num_ranks_, 0);
  const std::size_t own = placement_.experts_of(rank_at(rank_)).size();
  for (std::size_t r = 0; r < num_ranks_; ++r) {
    const auto first = sent_per_expert_.begin() + expert_offsets_sent_[r];
    send_counts_[r] = std::accumulate(first, first + expert_counts_sent_[r], 0);
    const auto first_received = received_per_expert_.begin() + static_cast<std::ptrdiff_t>(r * own);
    receive_counts_[r] =
        std::accumulate(first_received, first_received + static_cast<std::ptrdiff_t>(own), 0);
  }
  send_offsets_ = offsets_of(send_counts_);
  receive_offsets_ = offsets_of(receive_counts_);
  const std::size_t bytes = sum(receive_counts_) * case_.format.bytes();
  if (received_.size() < bytes) received_.resize(bytes);
  if (computed_.size() < bytes) computed_.resize(bytes);
}

void ClassicExchange::permute() {
  const std::size_t row_bytes = case_.format.bytes();
  const Stores stores = stores_for(sent_.size());
  for (std::size_t i = 0; i < place_of_choice_.size(); ++i) {
    copy_row(case_.x.data() + i / case_.top_k * row_bytes, sent_.data() + place_of_choice_[i] * row_bytes,
             row_bytes, stores);
  }
  finish_stores(stores);
}

void ClassicExchange::all_to_all(const std::vector<std::byte>& from, std::vector<std::byte>& to,
                                 bool is_return) {
  const auto& counts = is_return ? receive_counts_ : send_counts_;
  const auto& offsets = is_return ? receive_offsets_ : send_offsets_;
  const auto& to_counts = is_return ? send_counts_ : receive_counts_;
  const auto& to_offsets = is_return ? send_offsets_ : receive_offsets_;
  check(MPI_Alltoallv(from.data(), counts.data(), offsets.data(), row_type_, to.data(), to_counts.data(),
                      to_offsets.data(), row_type_, comm_));
}

/// Where rows lie they are ordered by source, then expert; a row is computed where it lies.
void ClassicExchange::compute() {
  const auto own = placement_.experts_of(rank_at(rank_));
  const std::size_t row_bytes = case_.format.bytes();
  const Stores stores = stores_for(sum(receive_counts_) * row_bytes);
  std::size_t row = 0;
  for (std::size_t i = 0; i < received_per_expert_.size(); ++i) {
    const float factor = factor_of(own[i % own.size()]);
    for (int n = 0; n < received_per_expert_[i]; ++n, ++row) {
      scale_row(factor, received_.data() + row * row_bytes, computed_.data() + row * row_bytes, case_.format,
                stores);
    }
  }
  finish_stores(stores);
}

void ClassicExchange::unpermute(std::span<float> y) {
  const std::size_t hidden = case_.format.hidden;
  std::vector<WeightedRow> rows(case_.top_k);
  for (std::size_t t = 0; t < case_.num_tokens; ++t) {
    for (std::size_t k = 0; k < case_.top_k; ++k) {
      const std::size_t choice = t * case_.top_k + k;
      rows[k] = {returned_.data() + place_of_choice_[choice] * case_.format.bytes(), case_.weights[choice]};
    }
    sum_weighted(rows, 0, case_.format.dtype, y.subspan(t * hidden, hidden));
  }
}

}  // namespace moewe::bench
