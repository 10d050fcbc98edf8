#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "benchmarks/bare_matmul.hpp"
#include "benchmarks/expert_work.hpp"
#include "benchmarks/own_experts.hpp"
#include "comm/buffer.hpp"

namespace moewe::bench {

/// How the bare matmuls of several experts can be run.
struct BareWay {
  Dtype dtype;           ///< of rows and weights; sums and outputs are f32
  bool library_threads;  ///< one expert after the other on all threads, or experts spread over the threads

  std::string name() const;
};

/// All ways that work of this dtype is compared with on this machine. With one thread both ways of using
/// threads are one.
std::vector<BareWay> ways_for(Dtype dtype, std::size_t threads);

/// The two matmuls of each expert and nothing else: gate and up as one, then down, for all of an expert's
/// rows at once. Rows lie one after the other; nothing is pulled, activated, rounded or stored elsewhere.
class BareExperts {
 public:
  /// Takes the inputs from `own`, so that results can be compared.
  BareExperts(const ExpertWork& work, const KeptWeights& weights, const OwnExperts& own, const BareWay& way,
              std::size_t threads);

  void run();

  /// Activates a few rows of each expert in plain loops between the matmuls, and throws Error(verification)
  /// unless the outputs are those of `own`.
  void expect_same(const OwnExperts& own);

 private:
  struct Expert {
    const BareMatmul* in;
    const BareMatmul* out;
    Buffer gate_up;  ///< packed
    Buffer down;     ///< packed
    Buffer x;
    Buffer y;
  };
  /// Intermediate values of a thread; who runs nothing but matmuls need not keep them per expert.
  struct Between {
    Buffer gate_up;
    Buffer hidden;
  };

  const BareMatmul& matmul(const MatmulShape& shape);
  Expert load(std::size_t n, const KeptWeights& weights, const OwnExperts& own);
  static void run_expert(Expert& expert, Between& between);
  void activate_row(std::size_t row, Between& between) const;
  void expect_same_row(std::size_t n, std::size_t row, const OwnExperts& own) const;

  ExpertWork work_;
  BareWay way_;
  std::size_t threads_;
  MemoryMeter meter_;
  std::map<MatmulShape, std::unique_ptr<BareMatmul>> matmuls_;
  std::vector<Expert> experts_;
  std::vector<Between> between_;
};

}  // namespace moewe::bench
