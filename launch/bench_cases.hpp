#pragma once

#include <functional>
#include <vector>

#include "comm/backend.hpp"
#include "launch/bench_options.hpp"
#include "launch/bench_result.hpp"

namespace moewe {

/// Collective: all cases, one after the other. `on_result` is called on rank 0 after each.
std::vector<BenchCase> run_bench_cases(Communicator& communicator, const Backend& backend,
                                       const BenchOptions& options,
                                       const std::function<void(const BenchCase&)>& on_result);

}  // namespace moewe
