#pragma once

#include "launch/calibration.hpp"
#include "launch/option_values.hpp"

namespace moewe {

/// --path, --carrier and --calibrate. Throws InvalidInput.
ExchangeRequest parse_exchange(const OptionValues& values);

}  // namespace moewe
