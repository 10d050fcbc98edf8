#pragma once

#include <boost/program_options/options_description.hpp>

namespace moewe {

/// The options of `moewe run` in their groups, with what --help says about them.
boost::program_options::options_description describe_run_options();

}  // namespace moewe
