#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "comm/link_costs.hpp"

namespace moewe {

/// What costs were measured on. Costs of another one say nothing.
struct ClusterKey {
  std::string text;  ///< all of it, in any form: equal for equal clusters
};

/// A file for each cluster in which its link costs are kept for the next run. Local; one rank uses it.
class LinkCache {
 public:
  using Time = std::chrono::system_clock::time_point;

  /// After this, links are measured anew.
  static constexpr std::chrono::hours lifetime{30 * 24};

  /// In $MOEWE_CACHE_DIR, else $XDG_CACHE_HOME/moewe, else $HOME/.cache/moewe. None where no such variable is
  /// set, each to an absolute path.
  static std::optional<LinkCache> of_user();

  explicit LinkCache(std::filesystem::path folder) : folder_(std::move(folder)) {}

  std::filesystem::path file_of(const ClusterKey& key) const;

  /// None where the file is missing, is too old, or is not one that was written for this cluster; where it is
  /// there, a line of the log says which. Throws nothing.
  std::optional<LinkCosts> read(const ClusterKey& key, Time now) const;

  /// Appears whole or not at all. Where it cannot be written, a line of the log says why.
  void write(const ClusterKey& key, const LinkCosts& costs, Time now) const;

 private:
  std::filesystem::path folder_;
};

/// As it stands in a file, and travels between ranks: the parsed costs equal those that were written.
std::string to_text(const LinkCosts& costs);

/// Throws InvalidInput, which begins with `where`, for anything but what to_text makes of possible costs.
LinkCosts parse_link_costs(const std::string& text, const std::string& where);

}  // namespace moewe
