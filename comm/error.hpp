#pragma once

#include <stdexcept>
#include <string>

namespace moewe {

enum class ErrorKind {
  invalid_input,  ///< a caller, a file or an option is wrong: one sentence says what would be right
  communication,  ///< a library that carries bytes reported a failure
  out_of_memory,
  timeout,       ///< a wait outlasted its deadline
  disagreement,  ///< ranks passed different arguments to the same step
  overflow,      ///< an expert got more than its capacity, under a policy that allows no such thing
  verification,  ///< a result or the ledger is not what it must be
  peer_failed,   ///< another rank failed first; its own error says why
  internal,      ///< an invariant of Moewe itself is broken
};

/// Whether the other ranks throw the same error at the same place. After a shared error every rank is still
/// in step with the others; after a local one only ending the job is safe.
enum class ErrorScope { local, shared };

/// Base of everything Moewe throws, apart from std::bad_alloc.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& what, ErrorScope scope = ErrorScope::local)
      : std::runtime_error(what), kind_(kind), scope_(scope) {}

  ErrorKind kind() const { return kind_; }
  ErrorScope scope() const { return scope_; }

 private:
  ErrorKind kind_;
  ErrorScope scope_;
};

class InvalidInput : public Error {
 public:
  explicit InvalidInput(const std::string& what) : Error(ErrorKind::invalid_input, what) {}
};

/// For invariants whose violation is a defect of Moewe. Always checked.
inline void expects(bool condition, const char* invariant) {
  if (!condition) throw Error(ErrorKind::internal, std::string("broken invariant: ") + invariant);
}

}  // namespace moewe
