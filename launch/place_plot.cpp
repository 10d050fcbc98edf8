#include "launch/place_plot.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>

namespace moewe {
namespace {

// In pixels.
constexpr double width = 960;
constexpr double height = 480;
constexpr double left = 64;
constexpr double right = 184;  // for the names
constexpr double top = 48;
constexpr double bottom = 48;

constexpr std::array<const char*, 6> colours{"#777777", "#0072b2", "#e69f00",
                                             "#009e73", "#cc79a7", "#d55e00"};

/// What is above perfect, by powers of ten: both a rank of three times the mean and what is a thousandth off
/// can be seen. What is less is drawn at the lowest.
constexpr double lowest_power = -4;
double power_of(double imbalance) { return std::log10(std::max(imbalance - 1, std::pow(10, lowest_power))); }

/// Where values lie in the picture.
struct Axes {
  double first_layer = 0;
  double last_layer = 1;
  double highest_power = lowest_power + 1;

  double x(double layer) const {
    const double span = std::max(1.0, last_layer - first_layer);
    return left + (layer - first_layer) / span * (width - left - right);
  }
  double y(double imbalance) const {
    const double share = (power_of(imbalance) - lowest_power) / (highest_power - lowest_power);
    return height - bottom - share * (height - top - bottom);
  }
};

Axes axes_of(const PlaceResult& result) {
  Axes axes;
  const auto& layers = result.contestants.front().layers;
  axes.first_layer = static_cast<double>(layers.front().layer);
  axes.last_layer = static_cast<double>(layers.back().layer);
  for (const PlaceContestant& contestant : result.contestants) {
    for (const LayerScore& layer : contestant.layers)
      axes.highest_power = std::max(axes.highest_power, std::ceil(power_of(layer.optimal)));
  }
  return axes;
}

/// A round number of about a sixth of `span`.
double tick_step(double span) {
  const double unit = std::pow(10, std::floor(std::log10(span / 6)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (span / (factor * unit) <= 7) return factor * unit;
  }
  return 10 * unit;
}

std::string text_at(double x, double y, const char* anchor, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, text);
}

std::string scale_of(const Axes& axes) {
  constexpr double beside = 8;
  constexpr double below = 20;
  std::string svg;
  for (double power = lowest_power; power <= axes.highest_power; ++power) {
    const double imbalance = 1 + std::pow(10, power);
    const double y = axes.y(imbalance);
    svg += fmt::format("<line x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#dddddd\"/>\n", left,
                       width - right, y, y);
    svg += text_at(left - beside, y + 4, "end", fmt::format("{:.5g}", imbalance));
  }
  const double layers =
      std::max(1.0, std::ceil(tick_step(std::max(1.0, axes.last_layer - axes.first_layer))));
  for (double layer = std::ceil(axes.first_layer / layers) * layers; layer <= axes.last_layer;
       layer += layers)
    svg += text_at(axes.x(layer), height - bottom + below, "middle", fmt::format("{:.0f}", layer));
  svg += text_at((left + width - right) / 2, height - beside, "middle", "layer");
  return svg;
}

template <typename Value>
std::string line_of(const PlaceContestant& contestant, const Axes& axes, const std::string& style,
                    Value&& value) {
  std::string points;
  for (const LayerScore& layer : contestant.layers)
    points += fmt::format("{:.1f},{:.1f} ", axes.x(static_cast<double>(layer.layer)), axes.y(value(layer)));
  return fmt::format("<polyline fill=\"none\" {} points=\"{}\"/>\n", style, points);
}

std::string key_of(std::size_t row, const std::string& style, const std::string& text) {
  constexpr double line_height = 22;
  const double x = width - right + 16;
  const double y = top + line_height * static_cast<double>(row);
  return fmt::format("<line x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\" {}/>\n", x, x + 20, y, y, style) +
         text_at(x + 26, y + 4, "start", text);
}

}  // namespace

std::string place_plot(const PlaceResult& result) {
  const Axes axes = axes_of(result);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" "
      "font-size=\"12\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      width, height);
  svg += text_at(
      left, top / 2, "start",
      fmt::format("Largest over mean rank load at the best split: {} experts on {} ranks with {} slots each",
                  result.num_experts, result.options.ranks, result.options.slots_per_rank));
  svg += scale_of(axes);
  for (std::size_t i = 0; i < result.contestants.size(); ++i) {
    const PlaceContestant& contestant = result.contestants[i];
    const std::string style = fmt::format("stroke=\"{}\" stroke-width=\"1.5\"", colours[i % colours.size()]);
    svg += line_of(contestant, axes, style, [](const LayerScore& layer) { return layer.optimal; });
    svg +=
        key_of(i, style,
               fmt::format("{} {:.4f}", contestant.name, summary_of(contestant, &LayerScore::optimal).mean));
  }
  const std::string style = "stroke=\"black\" stroke-width=\"1.5\" stroke-dasharray=\"4 3\"";
  svg +=
      line_of(result.contestants.front(), axes, style, [](const LayerScore& layer) { return layer.bound; });
  return svg + key_of(result.contestants.size(), style, "bound") + "</svg>\n";
}

}  // namespace moewe
