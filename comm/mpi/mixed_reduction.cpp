#include "comm/mpi/mixed_reduction.hpp"

#include <algorithm>
#include <span>

#include "comm/error.hpp"
#include "comm/mpi/check.hpp"

namespace moewe {
namespace {

constexpr std::size_t header_words = 3;

/// The three parts of a message.
template <typename Word>
struct Parts {
  std::span<Word> sums;
  std::span<Word> minima;
  std::span<Word> maxima;

  explicit Parts(Word* words) {
    Word* next = words + header_words;
    for (std::span<Word>* part : {&sums, &minima, &maxima}) {
      const auto length = static_cast<std::size_t>(*words++);
      *part = {next, length};
      next += length;
    }
  }
};

template <typename Fold>
void fold_into(std::span<std::int64_t> result, std::span<const std::int64_t> other, Fold fold) {
  std::transform(result.begin(), result.end(), other.begin(), result.begin(), fold);
}

constexpr std::int64_t lengths_differ = -1;

void fold_messages(void* in, void* in_out, int* /*one message*/, MPI_Datatype* /*all of it*/) {
  auto* const lengths = static_cast<std::int64_t*>(in_out);
  if (*lengths == lengths_differ ||
      !std::equal(lengths, lengths + header_words, static_cast<const std::int64_t*>(in))) {
    *lengths = lengths_differ;  // no exception may leave a function that MPI calls
    return;
  }
  const Parts<const std::int64_t> other(static_cast<const std::int64_t*>(in));
  const Parts<std::int64_t> result(static_cast<std::int64_t*>(in_out));
  fold_into(result.sums, other.sums, [](std::int64_t a, std::int64_t b) { return a + b; });
  fold_into(result.minima, other.minima, [](std::int64_t a, std::int64_t b) { return std::min(a, b); });
  fold_into(result.maxima, other.maxima, [](std::int64_t a, std::int64_t b) { return std::max(a, b); });
}

}  // namespace

MixedOperation::MixedOperation() { check_mpi(MPI_Op_create(fold_messages, 1, &operation_)); }

MixedOperation::~MixedOperation() { report_mpi(MPI_Op_free(&operation_)); }

MixedReduction::MixedReduction(const Reduction& values) {
  for (const std::span<std::int64_t> part : {values.sums, values.minima, values.maxima}) {
    words_.push_back(static_cast<std::int64_t>(part.size()));
  }
  for (const std::span<std::int64_t> part : {values.sums, values.minima, values.maxima}) {
    words_.insert(words_.end(), part.begin(), part.end());
  }
  check_mpi(MPI_Type_contiguous(static_cast<int>(words_.size()), MPI_INT64_T, &type_));
  check_mpi(MPI_Type_commit(&type_));
}

MixedReduction::~MixedReduction() { report_mpi(MPI_Type_free(&type_)); }

void MixedReduction::unpack(const Reduction& values) const {
  expects(words_.front() != lengths_differ, "all ranks reduce equally many values");
  const Parts<const std::int64_t> parts(words_.data());
  std::copy(parts.sums.begin(), parts.sums.end(), values.sums.begin());
  std::copy(parts.minima.begin(), parts.minima.end(), values.minima.begin());
  std::copy(parts.maxima.begin(), parts.maxima.end(), values.maxima.begin());
}

}  // namespace moewe
