#pragma once

#include <cstddef>

#include "comm/buffer.hpp"
#include "launch/run_inputs.hpp"
#include "launch/token_range.hpp"
#include "runtime/engine.hpp"
#include "runtime/routing.hpp"
#include "runtime/token_rows.hpp"

namespace moewe {

/// What this rank gives to one layer in one step of a run: its tokens' rows and, where no router chooses,
/// their experts. The rows are read outside the timed parts, in the place of those before.
class StepInputs {
 public:
  /// Local. Takes memory for the rows of one layer; borrows everything.
  StepInputs(Engine& engine, const RunInputs& inputs, Dtype dtype);

  /// Local. `layer` is the model's number. Throws InvalidInput where a file cannot be read, or has experts
  /// that the model has not.
  void read(std::size_t layer, std::size_t step);

  /// This rank's tokens, of every step.
  TokenRange tokens() const { return tokens_; }

  /// Both until the next read: [tokens().count, hidden], and null where the router chooses.
  TokenRows rows() const;
  const Routing* routing() const { return inputs_.routing() != nullptr ? &routing_ : nullptr; }

 private:
  void read_rows(std::size_t layer, std::size_t step);
  void read_routing(std::size_t layer, std::size_t step);
  std::size_t num_values() const { return tokens_.count * inputs_.spec().expert.hidden; }
  std::size_t num_choices() const { return tokens_.count * inputs_.spec().router.top_k; }

  const RunInputs& inputs_;
  Dtype dtype_;
  TokenRange tokens_;
  Buffer rows_;
  GrowingBuffer experts_;
  GrowingBuffer weights_;
  Routing routing_;
};

}  // namespace moewe
