#pragma once

#include <source_location>
#include <ucp/api/ucp.h>

namespace moewe {

/// Throws Error(communication) with UCX's text and the place of the call unless `status` is UCS_OK.
void check_ucx(ucs_status_t status, std::source_location where = std::source_location::current());

}  // namespace moewe
