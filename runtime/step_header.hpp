#pragma once

#include <array>
#include <cstdint>

namespace moewe {

/// What all ranks must pass alike to one step. Compared in the step's agreement.
struct StepHeader {
  std::int64_t layer = 0;       ///< number of the layer in its engine
  std::int64_t generation = 0;  ///< number of the step in its engine, from 1
  std::int64_t epoch = 0;       ///< of the layer's placement
  std::int64_t hidden = 0;
  std::int64_t num_experts = 0;
  std::int64_t top_k = 0;
  std::int64_t verify = 0;  ///< VerifyLevel
  std::int64_t protocol = 0;

  struct Field {
    const char* name;
    std::int64_t StepHeader::*value;
  };
};

inline constexpr std::array<StepHeader::Field, 8> step_header_fields{{
    {"layer", &StepHeader::layer},
    {"step", &StepHeader::generation},
    {"placement epoch", &StepHeader::epoch},
    {"hidden size", &StepHeader::hidden},
    {"number of experts", &StepHeader::num_experts},
    {"top-k", &StepHeader::top_k},
    {"verification level", &StepHeader::verify},
    {"protocol version", &StepHeader::protocol},
}};

/// Raised whenever what travels between ranks changes its meaning.
inline constexpr std::int64_t protocol_version = 1;

}  // namespace moewe
