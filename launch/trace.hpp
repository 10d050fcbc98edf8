#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>

#include "launch/token_range.hpp"
#include "launch/trace_layout.hpp"
#include "placement/expert_id.hpp"
#include "runtime/input_file.hpp"

namespace moewe {

/// One layer's share of one step of a run.
struct TraceStep {
  std::size_t layer = 0;  ///< of the trace
  std::size_t step = 0;
  std::size_t num_tokens = 0;  ///< of every step of the run, over all ranks
};

/// Recorded choices of experts: a safetensors file with topk_ids [steps, layers, tokens, k] (U8, I16 or I32)
/// and perhaps topk_weights of the same shape (F32 or BF16), or a .npy file [tokens, layers, k] (u1, i2, i4
/// or i8). Each layer has one sequence of tokens, a safetensors file's steps one after the other. Step s of a
/// run takes tokens [s N, (s + 1) N) of it, N being the run's tokens per step, and starts again at its end.
/// Choices are read when they are asked for.
class Trace {
 public:
  /// For a model of `num_experts` experts. Throws InvalidInput when the file is no trace, is empty, or has a
  /// larger k.
  Trace(const std::filesystem::path& path, std::size_t num_experts);

  const std::string& path() const { return file_.path(); }
  std::size_t num_layers() const { return layout_.layers; }
  std::size_t top_k() const { return layout_.top_k; }
  bool has_weights() const { return layout_.weights.has_value(); }

  /// Of one recorded step; a .npy file is one step.
  std::size_t tokens_per_step() const { return layout_.tokens_per_step; }

  /// Of a layer's whole sequence.
  std::size_t num_tokens() const { return layout_.tokens_per_layer(); }

  /// Local. The choices of the tokens in `range`: `ids` and `weights` are [range.count, top_k], best first.
  /// Weights are 1/k unless they were recorded. Throws InvalidInput, naming step, layer, token and k, for an
  /// expert that the model does not have, an expert twice in one token, and a weight that is not finite.
  void read(const TraceStep& step, TokenRange range, std::span<ExpertId> ids, std::span<float> weights) const;

  /// Reads all of a layer only to throw what read would.
  void check_layer(std::size_t layer) const;

 private:
  InputFile file_;
  std::size_t num_experts_;
  TraceLayout layout_;
};

/// Which layer of a trace stands for a layer of the model: the one of the same number where the trace has all
/// layers, the one of the same place among the MoE layers where it has these. None for a trace of another
/// number of layers.
std::optional<std::size_t> trace_layer_for(std::size_t trace_layers, std::size_t model_num_layers,
                                           std::span<const std::size_t> moe_layers, std::size_t model_layer);

}  // namespace moewe
