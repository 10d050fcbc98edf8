#pragma once

#include <exception>
#include <functional>
#include <string>

#include "comm/communicator.hpp"
#include "comm/error.hpp"

namespace moewe {

/// Collective. `failure` is what went wrong on this rank, or null. If it is null everywhere, returns on every
/// rank; otherwise throws the same Error on every rank, with ErrorScope::shared: that of the lowest failing
/// rank, named unless all failed.
void throw_together(Communicator& communicator, const std::exception_ptr& failure);

/// Collective. Runs `work` on every rank and throws as throw_together does if it threw anywhere. `work` must
/// not call anything collective.
void together(Communicator& communicator, const std::function<void()>& work);

/// Kind and text of any exception; what is not an Error or std::bad_alloc counts as internal.
ErrorKind kind_of(const std::exception_ptr& failure);
std::string text_of(const std::exception_ptr& failure);

/// Whether every rank throws this exception at the same place.
bool is_shared(const std::exception_ptr& failure);

}  // namespace moewe
