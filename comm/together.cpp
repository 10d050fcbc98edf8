#include "comm/together.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <new>
#include <string>

namespace moewe {
namespace {

/// What travels from the failing rank: the kind, then the length of the text.
struct FailureHeader {
  std::int64_t kind;
  std::int64_t text_length;
};

[[noreturn]] void throw_from(Communicator& communicator, Rank failing, bool everywhere,
                             const std::exception_ptr& failure) {
  const bool mine = communicator.rank() == failing;
  std::string text = mine ? text_of(failure) : std::string();
  FailureHeader header{};
  if (mine) header = {static_cast<std::int64_t>(kind_of(failure)), static_cast<std::int64_t>(text.size())};
  communicator.broadcast(std::as_writable_bytes(std::span(&header, 1)), failing);
  text.resize(static_cast<std::size_t>(header.text_length));
  communicator.broadcast(std::as_writable_bytes(std::span(text)), failing);
  if (!everywhere) text = fmt::format("rank {}: {}", number(failing), text);
  throw Error(static_cast<ErrorKind>(header.kind), text, ErrorScope::shared);
}

}  // namespace

ErrorKind kind_of(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return error.kind();
  } catch (const std::bad_alloc&) {
    return ErrorKind::out_of_memory;
  } catch (...) {
    return ErrorKind::internal;
  }
}

std::string text_of(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "an exception of unknown type";
  }
}

bool is_shared(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return error.scope() == ErrorScope::shared;
  } catch (...) {
    return false;
  }
}

void throw_together(Communicator& communicator, const std::exception_ptr& failure) {
  const auto num_ranks = static_cast<std::int64_t>(communicator.size());
  std::array<std::int64_t, 1> num_failed{failure ? 1 : 0};
  std::array<std::int64_t, 1> first_failing{failure ? number(communicator.rank()) : num_ranks};
  communicator.all_reduce({.sums = num_failed, .minima = first_failing, .maxima = {}});
  if (num_failed[0] == 0) return;
  const bool everywhere = num_failed[0] == num_ranks;
  throw_from(communicator, static_cast<Rank>(first_failing[0]), everywhere, failure);
}

void together(Communicator& communicator, const std::function<void()>& work) {
  std::exception_ptr failure;
  try {
    work();
  } catch (...) {
    failure = std::current_exception();
  }
  throw_together(communicator, failure);
}

}  // namespace moewe
