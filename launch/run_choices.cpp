#include "launch/run_choices.hpp"

namespace moewe {

const Choices<PathRequest> path_choices{{"auto", PathRequest::automatic},
                                        {"direct", PathRequest::direct},
                                        {"message", PathRequest::message},
                                        {"two-level", PathRequest::two_level}};
const Choices<CarrierRequest> carrier_choices{{"auto", CarrierRequest::automatic},
                                              {"mpi", CarrierRequest::mpi},
                                              {"ucx", CarrierRequest::ucx},
                                              {"nccl", CarrierRequest::nccl}};
const Choices<Calibrate> calibrate_choices{
    {"cached", Calibrate::cached}, {"fresh", Calibrate::fresh}, {"off", Calibrate::off}};
const Choices<OverlapMode> overlap_choices{
    {"shared", OverlapMode::shared}, {"off", OverlapMode::off}, {"half", OverlapMode::half}};
const Choices<DeviceRequest> device_choices{{"cpu", DeviceRequest::cpu},
                                            {"gpu", DeviceRequest::gpu},
                                            {"auto", DeviceRequest::automatic},
                                            {"emulated", DeviceRequest::emulated}};
const Choices<DeviceMode> device_mode_choices{{"eager", DeviceMode::eager}, {"graph", DeviceMode::graph}};
const Choices<VerifyLevel> verify_choices{
    {"ledger", VerifyLevel::ledger}, {"audit", VerifyLevel::audit}, {"off", VerifyLevel::off}};
const Choices<Dtype> dtype_choices{{"f32", Dtype::f32}, {"bf16", Dtype::bf16}};
const Choices<Combine> combine_choices{{"reproducible", Combine::reproducible}, {"fast", Combine::fast}};
const Choices<SplitMode> split_choices{{"exact", SplitMode::exact}, {"stored", SplitMode::stored}};
const Choices<Activation> activation_choices{
    {"silu", Activation::silu}, {"gelu", Activation::gelu}, {"relu", Activation::relu}};
const Choices<CapacityRule> rule_choices{{"megatron", CapacityRule::megatron},
                                         {"deepspeed", CapacityRule::deepspeed},
                                         {"vmoe", CapacityRule::vmoe},
                                         {"flaxformer", CapacityRule::flaxformer},
                                         {"mesh", CapacityRule::mesh}};
const Choices<OverflowPolicy> overflow_choices{{"drop-last", OverflowPolicy::drop_last},
                                               {"drop-lowest-weight", OverflowPolicy::drop_lowest_weight},
                                               {"next-choice", OverflowPolicy::next_choice},
                                               {"error", OverflowPolicy::error}};

const char* name_of(PathRequest path) { return name_of(path_choices, path); }
const char* name_of(CarrierRequest carrier) { return name_of(carrier_choices, carrier); }
const char* name_of(Calibrate calibrate) { return name_of(calibrate_choices, calibrate); }
const char* name_of(OverlapMode mode) { return name_of(overlap_choices, mode); }
const char* name_of(Combine combine) { return name_of(combine_choices, combine); }
const char* name_of(CapacityRule rule) { return name_of(rule_choices, rule); }
const char* name_of(OverflowPolicy policy) { return name_of(overflow_choices, policy); }

}  // namespace moewe
