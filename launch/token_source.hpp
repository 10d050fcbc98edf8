#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "launch/token_range.hpp"
#include "runtime/safetensors.hpp"

namespace moewe {

/// Where the rows that enter the layers come from.
class TokenSource {
 public:
  virtual ~TokenSource() = default;

  /// Per step, over all ranks.
  virtual std::size_t num_tokens() const = 0;

  /// `rows` is [range.count, hidden], row-major. Local. May throw InvalidInput where rows come from a file.
  virtual void read(std::size_t layer, std::size_t step, TokenRange range, std::span<float> rows) const = 0;
};

/// Tokens that depend on nothing but the seed, the layer, the step and their own number, so that they are the
/// same on any number of ranks. Values are uniform with mean 0 and variance 1.
class GeneratedTokens : public TokenSource {
 public:
  GeneratedTokens(std::uint64_t seed, std::size_t num_tokens, std::size_t hidden)
      : seed_(seed), num_tokens_(num_tokens), hidden_(hidden) {}

  std::size_t num_tokens() const override { return num_tokens_; }
  void read(std::size_t layer, std::size_t step, TokenRange range, std::span<float> rows) const override;

 private:
  std::uint64_t seed_;
  std::size_t num_tokens_;
  std::size_t hidden_;
};

/// Recorded tokens: tensors layers.N.input [T, hidden]. The same in every step.
class RecordedTokens : public TokenSource {
 public:
  /// Uses the first `num_tokens` rows of each layer. Throws InvalidInput when a layer is missing, has another
  /// hidden size or fewer rows. Borrows the file.
  RecordedTokens(const SafetensorsFile& file, const std::vector<std::size_t>& layers, std::size_t num_tokens,
                 std::size_t hidden);

  std::size_t num_tokens() const override { return num_tokens_; }

  /// Throws InvalidInput, naming tensor, token and column, for a value that is not finite.
  void read(std::size_t layer, std::size_t step, TokenRange range, std::span<float> rows) const override;

 private:
  const SafetensorsFile& file_;
  std::size_t num_tokens_;
  std::size_t hidden_;
};

/// "layers.3.input"
std::string layer_tensor(std::size_t layer, const char* what);

/// Layers for which a file has an input, ascending. Throws InvalidInput when there is none, and, naming the
/// tensor, for names such as layers.01.input that are inputs of no layer.
std::vector<std::size_t> recorded_layers(const SafetensorsFile& file);

/// Rows of a recorded layer's input. Throws InvalidInput unless it is there, [T, hidden], and F32 or
/// BF16.
std::size_t recorded_tokens(const SafetensorsFile& file, std::size_t layer, std::size_t hidden);

}  // namespace moewe
