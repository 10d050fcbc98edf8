#include "benchmarks/program.hpp"

#include <cstdio>
#include <exception>
#include <fmt/format.h>

#include "benchmarks/launched.hpp"
#include "comm/error.hpp"
#include "comm/together.hpp"

namespace moewe::bench {

int run_program(const char* program, int argc, char** argv,
                const boost::program_options::options_description& options,
                const std::function<int(const CommandLine&)>& work) {
  try {
    const CommandLine line(argc, argv, options);
    if (!line.wants_help()) return work(line);
    if (is_first_of_launched()) fmt::print("{}", line.help());
    return 0;
  } catch (...) {
    return report_failure(program, true);
  }
}

int report_failure(const char* program, bool same_on_all_ranks) {
  const std::exception_ptr failure = std::current_exception();
  std::fflush(stdout);
  if (!same_on_all_ranks || is_first_of_launched()) fmt::print(stderr, "{}: {}\n", program, text_of(failure));
  return kind_of(failure) == ErrorKind::invalid_input ? 2 : 1;
}

}  // namespace moewe::bench
