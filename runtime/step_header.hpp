#pragma once

#include <array>
#include <cstdint>

namespace moewe {

enum class Operation : std::int64_t { construct_layer, run_step };

/// What all ranks must pass alike to one collective operation of an engine. Compared in its agreement.
struct StepHeader {
  std::int64_t operation = 0;  ///< Operation
  std::int64_t layer = 0;      ///< number of the layer in its engine
  std::int64_t step = 0;       ///< number of the step in its engine, from 1
  std::int64_t epoch = 0;      ///< of the layer's placement
  std::int64_t placement = 0;  ///< its digest
  std::int64_t hidden = 0;
  std::int64_t intermediate = 0;
  std::int64_t num_experts = 0;
  std::int64_t top_k = 0;
  std::int64_t renormalise = 0;
  std::int64_t verify = 0;  ///< VerifyLevel
  std::int64_t protocol = 0;

  struct Field {
    const char* name;
    std::int64_t StepHeader::*value;
  };
};

/// In the order in which a disagreement is looked for: what explains most comes first.
inline constexpr std::array<StepHeader::Field, 12> step_header_fields{{
    {"protocol version", &StepHeader::protocol},
    {"operation (0: construct a layer, 1: run a step)", &StepHeader::operation},
    {"layer", &StepHeader::layer},
    {"step", &StepHeader::step},
    {"hidden size", &StepHeader::hidden},
    {"intermediate size", &StepHeader::intermediate},
    {"number of experts", &StepHeader::num_experts},
    {"top-k", &StepHeader::top_k},
    {"renormalisation of weights", &StepHeader::renormalise},
    {"placement epoch", &StepHeader::epoch},
    {"placement (its digest)", &StepHeader::placement},
    {"verification level", &StepHeader::verify},
}};

/// Raised whenever what travels between ranks changes its meaning.
inline constexpr std::int64_t protocol_version = 1;

}  // namespace moewe
