#include <csignal>
#include <cstdlib>
#include <ucs/debug/debug.h>

#include "comm/ucx/ucx_transport.hpp"

namespace moewe {
namespace {

bool are_asked_for() {
  for (const char* setting : {"UCX_HANDLE_ERRORS", "UCX_ERROR_SIGNALS", "UCX_DEBUG_SIGNO"}) {
    if (std::getenv(setting) != nullptr) return true;
  }
  return false;
}

bool is_handled(int signal) {
  struct sigaction current {};
  return sigaction(signal, nullptr, &current) == 0 && current.sa_handler != SIG_DFL &&
         current.sa_handler != SIG_IGN;
}

}  // namespace

void release_signals_of_ucx() {
  if (are_asked_for()) return;
  for (const int signal : {SIGHUP, SIGILL, SIGBUS, SIGFPE, SIGSEGV}) {
    if (is_handled(signal)) ucs_debug_disable_signal(signal);
  }
}

}  // namespace moewe
