#include "launch/exchange_options.hpp"

#include "launch/run_choices.hpp"

namespace moewe {

ExchangeRequest parse_exchange(const OptionValues& values) {
  ExchangeRequest exchange;
  exchange.path = find_choice(values, "path", path_choices).value_or(exchange.path);
  exchange.carrier = find_choice(values, "carrier", carrier_choices).value_or(exchange.carrier);
  exchange.calibrate = find_choice(values, "calibrate", calibrate_choices).value_or(exchange.calibrate);
  return exchange;
}

}  // namespace moewe
