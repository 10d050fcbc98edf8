#pragma once

#include <exception>
#include <source_location>
#include <string_view>
#include <ucp/api/ucp.h>

namespace moewe {

/// Throws Error(communication) with UCX's text and the place of the call unless `status` is UCS_OK.
void check_ucx(ucs_status_t status, std::source_location where = std::source_location::current());

/// For destructors, which have nobody left to tell: what failed, and how, is logged. Throws nothing.
void report_ucx(std::string_view what, const std::exception& error) noexcept;

}  // namespace moewe
