#include "launch/option_values.hpp"

#include <boost/program_options.hpp>
#include <cmath>
#include <sstream>

#include "launch/parse_number.hpp"

namespace moewe {
namespace {

namespace po = boost::program_options;

struct Unit {
  const char* name;
  double bytes;
};

const std::vector<Unit> units{{"", 1},         {"B", 1},       {"kB", 1e3},     {"MB", 1e6},
                              {"GB", 1e9},     {"TB", 1e12},   {"KiB", 0x1p10}, {"MiB", 0x1p20},
                              {"GiB", 0x1p30}, {"TiB", 0x1p40}};

/// A number and what follows it.
bool split_number(const std::string& text, double& number, std::string& rest) {
  std::istringstream stream(text);
  stream >> number;
  if (!stream || !std::isfinite(number)) return false;
  rest.clear();
  stream >> rest;
  std::string more;
  return !(stream >> more);
}

}  // namespace

OptionValues parse_command_line(const std::vector<std::string>& arguments,
                                const po::options_description& known, const char* command) {
  const auto style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  OptionValues values;
  try {
    const auto parsed = po::command_line_parser(arguments).options(known).style(style).run();
    for (const po::option& option : parsed.options) {
      if (option.position_key >= 0)
        throw InvalidInput(fmt::format("'{}' belongs to no option", option.value.front()));
    }
    po::store(parsed, values);
  } catch (const po::error& error) {
    throw InvalidInput(fmt::format("{}; see {} --help", error.what(), command));
  }
  return values;
}

std::optional<std::string> find_text(const OptionValues& values, const char* name) {
  if (values.count(name) == 0) return std::nullopt;
  auto text = values[name].as<std::string>();
  if (text.empty()) throw InvalidInput(fmt::format("--{} is empty", name));
  return text;
}

std::optional<std::vector<std::string>> find_list(const OptionValues& values, const char* name) {
  const auto text = find_text(values, name);
  if (!text) return std::nullopt;
  std::vector<std::string> items;
  std::istringstream stream(*text + ",");
  for (std::string item; std::getline(stream, item, ',');) {
    if (item.empty())
      throw InvalidInput(fmt::format("--{} must be a list such as a,b, not '{}'", name, *text));
    items.push_back(item);
  }
  return items;
}

std::optional<std::uint64_t> find_number(const OptionValues& values, const char* name, std::uint64_t least,
                                         std::uint64_t most) {
  const auto text = find_text(values, name);
  if (!text) return std::nullopt;
  const auto number = parse_number(*text);
  if (!number || *number < least || *number > most) {
    throw InvalidInput(
        fmt::format("--{} must be a whole number from {} to {}, not '{}'", name, least, most, *text));
  }
  return number;
}

std::vector<std::size_t> find_sizes(const OptionValues& values, const char* name, std::size_t least,
                                    std::size_t most, std::size_t otherwise) {
  const auto items = find_list(values, name);
  if (!items) return {otherwise};
  std::vector<std::size_t> sizes;
  for (const std::string& item : *items) {
    const auto number = parse_number(item);
    if (!number || *number < least || *number > most) {
      throw InvalidInput(
          fmt::format("--{} must be whole numbers from {} to {}, not '{}'", name, least, most, item));
    }
    sizes.push_back(*number);
  }
  return sizes;
}

std::optional<double> find_positive(const OptionValues& values, const char* name, double most) {
  const auto text = find_text(values, name);
  if (!text) return std::nullopt;
  double number = 0;
  std::string rest;
  if (!split_number(*text, number, rest) || !rest.empty() || !(number > 0) || number > most) {
    throw InvalidInput(
        fmt::format("--{} must be a number above 0 and up to {}, not '{}'", name, most, *text));
  }
  return number;
}

std::optional<std::uint64_t> find_bytes(const OptionValues& values, const char* name) {
  const auto text = find_text(values, name);
  if (!text) return std::nullopt;
  double number = 0;
  std::string rest;
  if (split_number(*text, number, rest)) {
    for (const Unit& unit : units) {
      const double bytes = number * unit.bytes;
      if (rest == unit.name && bytes >= 1 && bytes < 0x1p63) return static_cast<std::uint64_t>(bytes);
    }
  }
  throw InvalidInput(
      fmt::format("--{} must be a size such as 1500000000, 1.5GB or 1.5GiB, not '{}'", name, *text));
}

void require_with(const OptionValues& values, bool needed, const char* what,
                  std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (!needed && values.count(name) > 0) throw InvalidInput(fmt::format("--{} needs {}", name, what));
  }
}

void exclude_both(const OptionValues& values, const char* one, const char* other) {
  if (values.count(one) > 0 && values.count(other) > 0) {
    throw InvalidInput(fmt::format("--{} and --{} contradict each other", one, other));
  }
}

}  // namespace moewe
