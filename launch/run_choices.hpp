#pragma once

#include "launch/calibration.hpp"
#include "launch/carrier_choice.hpp"
#include "launch/option_choices.hpp"
#include "launch/overlap_mode.hpp"
#include "launch/run_device.hpp"
#include "runtime/layer_options.hpp"
#include "runtime/layer_spec.hpp"
#include "runtime/ledger.hpp"
#include "runtime/path_choice.hpp"

namespace moewe {

// What the options of `moewe run` let one choose from, by the names that are typed.

extern const Choices<PathRequest> path_choices;
extern const Choices<CarrierRequest> carrier_choices;
extern const Choices<Calibrate> calibrate_choices;
extern const Choices<OverlapMode> overlap_choices;
extern const Choices<DeviceRequest> device_choices;
extern const Choices<DeviceMode> device_mode_choices;
extern const Choices<VerifyLevel> verify_choices;
extern const Choices<Dtype> dtype_choices;
extern const Choices<Combine> combine_choices;
extern const Choices<SplitMode> split_choices;
extern const Choices<Activation> activation_choices;
extern const Choices<CapacityRule> rule_choices;
extern const Choices<OverflowPolicy> overflow_choices;

const char* name_of(PathRequest path);
const char* name_of(CarrierRequest carrier);
const char* name_of(Calibrate calibrate);
const char* name_of(OverlapMode mode);
const char* name_of(Combine combine);
const char* name_of(CapacityRule rule);
const char* name_of(OverflowPolicy policy);

}  // namespace moewe
