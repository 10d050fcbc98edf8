#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "comm/communicator.hpp"
#include "launch/options.hpp"
#include "launch/token_source.hpp"
#include "runtime/checkpoint.hpp"

namespace moewe {

/// What a run reads, opened and checked on every rank before anything large is allocated.
class RunInputs {
 public:
  /// Collective. Throws a shared InvalidInput when options differ between ranks, when a file is unusable, or
  /// when ranks found different configurations or tensor headers in theirs.
  RunInputs(Communicator& communicator, const RunOptions& options);

  const Checkpoint& checkpoint() const { return *checkpoint_; }
  const std::vector<std::size_t>& layers() const { return layers_; }
  const TokenSource& tokens() const { return *tokens_; }

  /// The input file, or null where tokens are generated.
  const SafetensorsFile* input() const { return input_.get(); }

 private:
  void open(const RunOptions& options);
  void refuse_to_overwrite(const RunOptions& options) const;
  std::vector<std::size_t> choose_layers(const RunOptions& options) const;

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<SafetensorsFile> input_;
  std::vector<std::size_t> layers_;
  std::unique_ptr<TokenSource> tokens_;
};

}  // namespace moewe
