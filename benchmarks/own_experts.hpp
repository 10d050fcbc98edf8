#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "benchmarks/expert_work.hpp"
#include "comm/buffer.hpp"
#include "runtime/experts.hpp"
#include "runtime/ledger.hpp"
#include "runtime/row_table.hpp"
#include "runtime/workspace.hpp"

namespace moewe::bench {

/// The project's own expert compute as a step of a layer uses it: rows pulled from addresses all over a
/// received block, outputs stored to addresses all over another.
class OwnExperts {
 public:
  OwnExperts(const ExpertWork& work, const KeptWeights& weights, MatmulCache& matmuls, std::size_t threads);

  void run();

  /// Row `row` of the work's n-th expert.
  std::span<const std::byte> input(std::size_t n, std::size_t row) const;
  std::vector<float> output(std::size_t n, std::size_t row) const;

  /// Throws unless every run so far has counted every row.
  void expect_all_counted() const;

 private:
  void lay_out_rows();
  void fill_inputs();

  ExpertWork work_;
  MemoryMeter meter_;
  ExpertMlp mlp_;
  SlotTable slots_;
  Workspace workspace_;
  Ledger ledger_;
  Buffer inputs_;
  Buffer outputs_;
  std::vector<PlannedAssignment> assignments_;
  RowTable table_;
  std::size_t num_runs_ = 0;
};

}  // namespace moewe::bench
