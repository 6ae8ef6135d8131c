// What the kernels of the CPU compute, one product at a time in double precision, and how far they may be from it. It
// shares nothing with them but the sizes of the problem: positions are split here, corners are asked for one by one.

#pragma once

#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

#include "geometry.h"

// A sum of products with coefficients, and what rounding errors are measured against: the sum of the terms' sizes, and
// that of the products without their coefficients, since 1 - fraction may be rounded before or after it is multiplied.
struct Sum {
  double value = 0, terms = 0, products = 0;

  void add(double coefficient, double product) {
    value += coefficient * product;
    terms += std::abs(coefficient * product);
    products += std::abs(product);
  }
};

struct Expected {
  std::vector<Sum> output, grad_input, grad_weight, grad_positions, grad_bias;
};

// One of the four pixels around a position: its coefficient, and the coefficient's derivatives by y and by x.
struct Corner {
  double row, column, coefficient, by_y, by_x;
};

// Where an element of an image tensor stands.
inline int64_t element(int64_t n, int64_t c, int64_t y, int64_t x, int64_t channels, int64_t height, int64_t width,
                       bool channels_last) {
  return channels_last ? ((n * height + y) * width + x) * channels + c : ((n * channels + c) * height + y) * width + x;
}

inline int64_t products(const acu::Geometry& g) {
  return g.images * g.outputs * g.out_pixels() * g.synapses * g.channels_per_group();
}

template <class T>
Expected gather(const acu::Geometry& g, const std::vector<T>& image, const std::vector<T>& weight,
                const std::vector<T>& positions, const std::vector<T>* bias, const std::vector<T>& gradient,
                bool channels_last) {
  Expected e;
  e.output.resize(gradient.size()), e.grad_input.resize(image.size()), e.grad_weight.resize(weight.size());
  e.grad_positions.resize(positions.size()), e.grad_bias.resize(g.outputs);
  const int64_t channels = g.channels_per_group();
  for (int64_t n = 0; n < g.images; ++n) {
    for (int64_t o = 0; o < g.outputs; ++o) {
      const int64_t first = o / (g.outputs / g.groups) * channels;
      for (int64_t i = 0; i < g.out_height; ++i) {
        for (int64_t j = 0; j < g.out_width; ++j) {
          const int64_t at = element(n, o, i, j, g.outputs, g.out_height, g.out_width, channels_last);
          const double d = gradient[at];
          e.grad_bias[o].add(1, d);
          if (bias != nullptr) e.output[at].add(1, (*bias)[o]);
          for (int64_t k = 0; k < g.synapses; ++k) {
            const int64_t position = 2 * (o / (g.outputs / g.position_groups) * g.synapses + k);
            const T floor_y = std::floor(positions[position]), floor_x = std::floor(positions[position + 1]);
            // In the precision of the positions: just below an integer, the fraction rounds to 1.
            const T fraction_y = positions[position] - floor_y, fraction_x = positions[position + 1] - floor_x;
            const double y = static_cast<double>(i * g.stride.h - g.padding.top) + floor_y, fy = fraction_y;
            const double x = static_cast<double>(j * g.stride.w - g.padding.left) + floor_x, fx = fraction_x;
            const Corner corners[4] = {{y, x, (1 - fy) * (1 - fx), fx - 1, fy - 1},
                                       {y, x + 1, (1 - fy) * fx, -fx, 1 - fy},
                                       {y + 1, x, fy * (1 - fx), 1 - fx, -fy},
                                       {y + 1, x + 1, fy * fx, fx, fy}};
            for (const Corner& corner : corners) {
              const bool inside = corner.row >= 0 && corner.row < static_cast<double>(g.height) && corner.column >= 0 &&
                                  corner.column < static_cast<double>(g.width);
              if (!inside) continue;
              const auto row = static_cast<int64_t>(corner.row), column = static_cast<int64_t>(corner.column);
              for (int64_t c = 0; c < channels; ++c) {
                const int64_t from = element(n, first + c, row, column, g.channels, g.height, g.width, channels_last);
                const int64_t w = (o * channels + c) * g.synapses + k;
                const double weighted = static_cast<double>(weight[w]) * image[from];
                e.output[at].add(corner.coefficient, weighted);
                e.grad_input[from].add(corner.coefficient, weight[w] * d);
                e.grad_weight[w].add(corner.coefficient, image[from] * d);
                e.grad_positions[position].add(corner.by_y, weighted * d);
                e.grad_positions[position + 1].add(corner.by_x, weighted * d);
              }
            }
          }
        }
      }
    }
  }
  return e;
}

// What the last rounding to fewer bits may add: a part of the number, and a part of the smallest ones.
struct Rounding {
  double relative, absolute;
};

// Whether every element is what it should be, up to rounding; NaN never is.
template <class T>
bool near(const std::vector<T>& actual, const std::vector<Sum>& expected, const char* name, Rounding last = {0, 0}) {
  const double tolerance = sizeof(T) == 4 ? 1e-5 : 1e-13;
  constexpr double kRounding = 4.0 * std::numeric_limits<T>::epsilon();
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double allowed = tolerance * expected[i].terms + kRounding * expected[i].products +
                           last.relative * std::abs(expected[i].value) + last.absolute;
    if (!(std::abs(actual[i] - expected[i].value) <= allowed)) {
      std::printf("%s[%lld] is %.9g and should be %.9g\n", name, static_cast<long long>(i),
                  static_cast<double>(actual[i]), expected[i].value);
      return false;
    }
  }
  return true;
}
