#pragma once

#include <boost/program_options.hpp>
#include <functional>

#include "benchmarks/command_line.hpp"

namespace moewe::bench {

/// What the main of a benchmark is: reads the arguments, prints the help where that is wanted, else returns
/// what `work` does. What is thrown is printed after the program's name and ends in an exit code; with --help
/// and with wrong arguments the first of several launched processes alone speaks, since all have the same.
int run_program(const char* program, int argc, char** argv,
                const boost::program_options::options_description& options,
                const std::function<int(const CommandLine&)>& work);

/// The exit code for the exception being handled, after printing it, by the first rank alone if it is the
/// same on all: 2 for bad input, 1 otherwise.
int report_failure(const char* program, bool same_on_all_ranks);

}  // namespace moewe::bench
