#pragma once

#include <optional>
#include <string>
#include <vector>

#include "comm/backend.hpp"
#include "comm/link_costs.hpp"
#include "launch/carrier_choice.hpp"
#include "runtime/path_choice.hpp"

namespace moewe {

/// Whether links are measured.
enum class Calibrate {
  cached,  ///< unless they were on this cluster in the last 30 days (LinkCache)
  fresh,
  off,  ///< neither measured nor looked up: fixed rules choose
};

/// What a user asks for of the exchange. The same on all ranks.
struct ExchangeRequest {
  PathRequest path = PathRequest::automatic;
  CarrierRequest carrier = CarrierRequest::automatic;
  Calibrate calibrate = Calibrate::cached;
  bool needs_links = false;  ///< between nodes, to know what they carry, whether there is a choice or not
};

/// What paths and carriers are chosen by. The same on all ranks.
struct Calibration {
  ExchangeRequest request;
  std::vector<Backend> carriers;   ///< that can be used, and serve the request; at least one
  std::optional<LinkCosts> costs;  ///< of these carriers; none where fixed rules choose
  std::string reason_for_none;     ///< why there are no costs
};

/// Collective. Finds the carriers that can be used. Measures only what a choice depends on: nothing where all
/// ranks share a node, unless messages are asked for there; and what is needed. Rank 0 reads and writes the
/// cache, and what it has, or what was measured, is everybody's. Throws a shared InvalidInput where a carrier
/// is asked for that cannot be had.
Calibration calibrate(Communicator& communicator, const Backend& found, const ExchangeRequest& request);

}  // namespace moewe
