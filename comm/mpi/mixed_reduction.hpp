#pragma once

#include <cstdint>
#include <mpi.h>
#include <vector>

#include "comm/communicator.hpp"

namespace moewe {

/// The operation that folds two MixedReduction messages. Owns an MPI_Op.
class MixedOperation {
 public:
  MixedOperation();
  ~MixedOperation();
  MixedOperation(const MixedOperation&) = delete;
  MixedOperation& operator=(const MixedOperation&) = delete;

  MPI_Op get() const { return operation_; }

 private:
  MPI_Op operation_ = MPI_OP_NULL;
};

/// A Reduction packed so that one all-reduce folds sums, minima and maxima together:
///
///   | number of sums | number of minima | number of maxima | sums ... | minima ... | maxima ... |
///
/// It is one element of its own datatype, so that MPI can neither split nor reorder it.
class MixedReduction {
 public:
  explicit MixedReduction(const Reduction& values);
  ~MixedReduction();
  MixedReduction(const MixedReduction&) = delete;
  MixedReduction& operator=(const MixedReduction&) = delete;

  void* data() { return words_.data(); }
  MPI_Datatype type() const { return type_; }

  void unpack(const Reduction& values) const;

 private:
  std::vector<std::int64_t> words_;
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

}  // namespace moewe
